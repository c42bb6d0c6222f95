import { setUp } from '../../scripts/setup.mjs';

export default async function build(): Promise<void> {
  await setUp();
}
