// `npm start` and the like: sets up what is missing, then runs the command in this same process.
import { setUp } from './setup.mjs';

await setUp();
await import('../dist/tripline.js');
