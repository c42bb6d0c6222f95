import { testGoldenCases } from '../test-support/golden-tests.ts';

// Those of logins, which take as long as all others together, are in `endpoint/cases.test.ts`: files run side by side.
testGoldenCases(({ logins }) => logins.length === 0);
