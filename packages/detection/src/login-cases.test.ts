import { testGoldenCases } from '../test-support/golden-tests.ts';

testGoldenCases(({ logins }) => logins.length > 0);
