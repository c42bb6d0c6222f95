import { dayMs, hourMs, minuteMs, profileOf, secondMs, shareAt } from '../calendar.ts';
import { Users } from '../crowd.ts';
import { countryOf } from '../geo.ts';
import { act, agents, clientOf, ipAt, person } from '../people.ts';
import { operations, request, routes } from '../site.ts';
import type { Label, Span, Stage } from '../stage.ts';

/** Logins that fail for a harmless reason. */
export function addFailedLogins(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [
    mistyped,
    expiredPassword,
    school,
    monitoringProbe,
    expiredTokens,
    brokenScript,
    negativeTests,
  ])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
  const users = new Users(stage);
  const whole: Span = [stage.startMs, stage.endMs];
  const benign = (letter: string, title: string, tolerates: Label['tolerates'] = null): Label =>
    stage.benign(`credential-stuffing:not-${letter}`, 'credential-stuffing', title, tolerates);
  const random = stage.random('benign logins');
  return { users, whole, benign, random };
}

function mistyped(stage: Stage, { users, whole, benign, random }: Tools): void {
  const mistyped = benign('a', 'mistypes the password 3 to 8 times');
  stage.poisson(random, whole, Math.max(6, stage.crowd / 100) / 1_440, null, (atMs) => {
    const index = random.int(users.count);
    const { ip, client } = users.home(index);
    const tries = 3 + random.int(6);
    for (let one = 0; one <= tries; one++)
      stage.send(users.login(index, ip, client, atMs + one * 7 * secondMs, one === tries, random), mistyped);
  });
}

function expiredPassword(stage: Stage, { users, benign, random }: Tools): void {
  const stale = benign('b', 'expired password in a device, every 30 s for a day', {
    types: ['stale-credential'],
    most: 1,
  });
  const staleFrom = stage.day(0.7) + 6 * hourMs;
  const staleClient = clientOf(null, 'SmartMeter/2.1', random);
  const staleIp = ipAt(random, 'residential', 'NL');
  stage.every(random, [staleFrom, staleFrom + dayMs], 30 * secondMs, 0.02, (atMs) => {
    const one = users.login(7, staleIp, staleClient, atMs, false, random);
    one.login!.password = 'last-years';
    one.requestBytes = 311;
    stage.send(one, stale);
  });
}

function school(stage: Stage, { users, whole, benign, random }: Tools): void {
  const school = benign('c', 'school behind one address, 500 users, 10 % failures');
  const schoolIp = ipAt(random, 'business', 'GB', 'London');
  const clients = Array.from({ length: 40 }, () => clientOf(null, random.pick(agents.browser), random));
  const schoolDay = profileOf(countryOf('GB').zone, 20, 10, 0.05, 4);
  stage.poisson(
    random,
    whole,
    0.8,
    (at) => shareAt(schoolDay, at),
    (atMs) => {
      // Accounts of its own: nobody is at school in London and at home on another continent.
      const index = users.count + random.int(500);
      stage.send(
        users.login(index, schoolIp, random.pick(clients), atMs, !random.chance(0.1), random),
        school,
      );
    },
  );
}

function monitoringProbe(stage: Stage, { whole, benign, random }: Tools): void {
  // Reported once a week.
  const probe = benign('f', 'monitoring probe with a wrong key every minute', {
    types: ['stale-credential'],
    most: 5,
  });
  const probeClient = clientOf(null, 'UptimeProbe/1.0', random);
  const probeIp = ipAt(random, 'hosting', 'US', 'Chicago');
  stage.every(random, whole, minuteMs * 2, 0.05, (atMs) => {
    const one = request(probeClient, probeIp, atMs, routes.orders, 'GET', '/orders', null, random, 350, 2);
    const refused = { status: 401, byKong: true, wrongKey: 'probe-key-that-is-wrong', requestBytes: 287 };
    stage.send(Object.assign(one, refused), probe);
  });
}

function expiredTokens(stage: Stage, { users, whole, benign, random }: Tools): void {
  const expiry = benign('g', 'tokens expire: one 401, then a fresh one');
  const apps = Array.from({ length: 60 }, (_, index) => index);
  stage.every(random, whole, 6 * hourMs, 0.2, (atMs) => {
    for (const index of apps) {
      const { ip, client } = users.home(index);
      const at = atMs + random.next() * 10 * minuteMs;
      const one = request(client, ip, at, routes.accounts, 'GET', '/accounts/me', null, random, 300);
      stage.send(Object.assign(one, { status: 401, bearer: `old-${index}-${Math.floor(atMs)}` }), expiry);
      stage.send(users.login(index, ip, client, at + 800, true, random), expiry);
    }
  });
}

function brokenScript(stage: Stage, { users, whole, benign, random }: Tools): void {
  const script = benign('i', 'legitimate host with a broken script: 157 failures, 47 logins a day');
  const scriptClient = clientOf(null, 'python-requests/2.32.3', random);
  const scriptIp = ipAt(random, 'business', 'DE', 'Hamburg');
  stage.every(random, whole, dayMs / 204, 0.5, (atMs) => {
    const right = random.chance(47 / 204);
    stage.send(
      users.login(right ? 20 + random.int(3) : 23, scriptIp, scriptClient, atMs, right, random),
      script,
    );
  });
}

function negativeTests(stage: Stage, { benign }: Tools): void {
  const negative = benign('j', 'QA tenant runs negative tests');
  const qa = person(stage, 'qa-tenant', { tags: ['qa'] });
  stage.daily(qa.random, countryOf('DE').zone, 10, 2 * hourMs, (atMs) => {
    for (let call = 0; call < 60; call++) {
      const device = qa.devices[0]!;
      const one = act(stage, qa, device, device.ip(), atMs + call * 2 * secondMs, operations.user);
      one.status = qa.random.pick([401, 403, 403, 404, 422, 200]);
      stage.send(one, negative);
    }
  });
}
