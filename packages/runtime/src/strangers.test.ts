import { expect, it } from 'vitest';
import { configSchema } from './config/index.ts';
import { isLoopbackHost, takesLinesFromStrangers } from './strangers.ts';

it.each([
  ['the defaults', {}, true],
  ['an address of a network card', { host: '192.168.1.7' }, true],
  ['all IPv6 addresses', { host: '::' }, true],
  ['a name that is not of this machine alone', { host: 'localhost.example.com' }, true],
  ['a network that is everybody', { allow: ['0.0.0.0/0'] }, true],
  ['a network that is everybody, beside another', { allow: ['10.0.0.0/8', '::/0'] }, true],
  ['a token', { token: 's3cret-token' }, false],
  ['addresses of the Kong nodes', { allow: ['10.1.2.3', '10.2.0.0/16'] }, false],
  ['the statement that strangers are kept away', { trustUnauthenticated: true }, false],
  ['IPv4 loopback', { host: '127.0.0.1' }, false],
  ['IPv6 loopback', { host: '::1' }, false],
  ['localhost', { host: 'localhost' }, false],
])('with %s, tells whether lines of strangers are taken', (_what, settings, expected) => {
  const { collector } = configSchema.parse({ collector: settings });
  expect(takesLinesFromStrangers(collector)).toBe(expected);
});

it.each(['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', '127.0.0.1.example.com', ''])(
  'does not take "%s" for a loopback address',
  (host) => expect(isLoopbackHost(host)).toBe(false),
);
