/** Resolves when `dist/tripline.js` can be run; ends the process with a message if it cannot be had. */
export function setUp(): Promise<void>;
