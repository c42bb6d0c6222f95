import { checkWhoActs } from './who-acts.ts';
import { runningUrl, type CollectorStatus } from '../running.ts';
import type { Finding, Subject } from './finding.ts';
import { checkLag } from './lag.ts';

/** What the running roles saw of the lines, and whether they keep up. */
export async function* checkTraffic({ loaded, status: ask }: Subject): AsyncGenerator<Finding> {
  const status = await ask();
  const collector = status?.collector;
  if (status && collector) {
    yield* checkLines(status.now, collector);
    yield* checkWhoActs(collector.observations.services);
    yield* checkAddresses(collector);
    yield checkClock(collector);
    yield* checkLag(status);
  } else if (status) {
    yield* checkLag(status);
    yield {
      level: 'note',
      what: `lines, addresses and clock: the roles at ${runningUrl(loaded)} see none of them`,
      advice: 'Run doctor with the configuration of a collector for those.',
    };
  } else {
    yield {
      level: 'fail',
      what: `no Tripline answers at ${runningUrl(loaded)}: lines, addresses and clock cannot be checked`,
      advice: 'Start it with npm start, or give its configuration with --config.',
    };
  }
}

/** Do lines arrive, and are they accepted? */
export function checkLines(nowMs: number, collector: CollectorStatus): Finding[] {
  const { accounting, observations } = collector;
  const { received, restored, published, streamSessions, returned, spooled, inFlight } = accounting;
  const sum = (counts: Record<string, number>): number =>
    Object.values(counts).reduce((all, one) => all + one, 0);
  const list = (counts: Record<string, number>): string =>
    Object.entries(counts)
      .map(([reason, count]) => `${reason} ${count}`)
      .join(', ');
  const rejected = sum(accounting.rejected);
  const dropped = sum(accounting.dropped);
  const findings: Finding[] = [];
  if (received === 0) {
    findings.push({
      level: 'fail',
      what: `lines: none has come to port ${collector.port}`,
      advice:
        'Is the tcp-log or http-log plugin there (below), and can Kong reach this address? See tripline kong connect.',
    });
    return findings;
  }
  const age = observations.lastLineAt === undefined ? undefined : nowMs - observations.lastLineAt;
  const when = age === undefined ? 'none accepted yet' : `the last one ${inWords(age)} ago`;
  findings.push({
    level: age !== undefined && age < 300_000 ? 'ok' : 'warn',
    what:
      `lines: ${received} received${also(restored, 'from the spool of an earlier process')} = ${published} published + ` +
      `${rejected} rejected + ${dropped} dropped${also(streamSessions, 'stream sessions')}${also(returned, 'sent back to Kong')}${also(spooled, 'in the spool')} + ` +
      `${inFlight} under way; ${when}`,
    ...(age !== undefined && age < 300_000
      ? {}
      : { advice: 'Is there traffic on Kong? Does its error log name tcp-log?' }),
  });
  if (streamSessions > 0) {
    findings.push({
      level: 'note',
      what: `stream sessions: ${streamSessions} lines are of TCP or TLS routes, which Tripline does not look into`,
      advice: 'Nothing is wrong. To save them, take tcp and tls out of the protocols of the plugin in Kong.',
    });
  }
  if (spooled > 0) {
    findings.push({
      level: 'warn',
      what: `spool: ${spooled} lines wait on disk`,
      advice:
        'The bus does not answer, is full or not fast enough: see the disk and Kafka above, lag below, and /readyz. They are published when it takes them.',
    });
  }
  if (rejected > 0) {
    const token = accounting.rejected['missing-token'] ?? accounting.rejected['wrong-token'];
    findings.push({
      level: rejected > received / 100 ? 'warn' : 'note',
      what: `rejected: ${list(accounting.rejected)}`,
      advice: token
        ? 'The token of collector.token is not in the lines: tripline kong connect --apply.'
        : 'Samples, sanitised, are in the topic dead-letters.',
    });
  }
  if (dropped > 0) {
    findings.push({
      level: 'warn',
      what: `dropped: ${list(accounting.dropped)}`,
      advice: 'Good lines were lost: see disk and lag.',
    });
  }
  return findings;
}

function also(count: number, what: string): string {
  return count === 0 ? '' : ` + ${count} ${what}`;
}

/** Are the client addresses those of clients, or all a load balancer's? */
export function checkAddresses(collector: CollectorStatus): Finding[] {
  const { clients } = collector.observations;
  if (clients.lines < 100)
    return [
      { level: 'note', what: `client addresses: only ${clients.lines} lines so far, too few to judge` },
    ];
  const share = `${Math.round(clients.topShare * 100)} % of ${clients.lines} lines are from ${clients.top ?? '?'}`;
  const what = `client addresses: ${clients.distinct} different, ${share}`;
  const advice =
    "Kong probably shows its load balancer's address: set trusted_ips and real_ip_header in kong.conf. Until then detectors cannot tell clients apart by address.";
  if (clients.topShare > 0.9 || clients.privateShare > 0.95) return [{ level: 'warn', what, advice }];
  // The limits of impossible travel and credential sharing, over the last lines of all services.
  if (clients.topPlaceShare >= 0.95 && clients.topPlaceActors >= 15) {
    return [
      {
        level: 'warn',
        what: `client addresses: ${Math.round(clients.topPlaceShare * 100)} % of the located lines, of ${clients.topPlaceActors} actors, are from ${clients.topPlace ?? '?'}`,
        advice:
          'Impossible travel and credential sharing rest on a service whose clients are all seen at one place. If that is a proxy or CDN, set trusted_ips and real_ip_header in kong.conf.',
      },
    ];
  }
  return [{ level: 'ok', what }];
}

/** Do Kong's clock and ours agree? A line comes within moments of the end of its request. */
export function checkClock(collector: CollectorStatus): Finding {
  const offset = collector.observations.clockOffsetMs;
  if (offset === undefined) return { level: 'note', what: 'clock: no line to compare with' };
  const what = `clock: lines come at best ${inWords(offset)} after Kong's time of them`;
  const advice =
    'The clocks of Kong and of this machine differ: run NTP on both. Times ahead by more than collector.maxAheadMs are refused.';
  if (offset < -2_000)
    return { level: 'warn', what: `clock: Kong's clock is ${inWords(-offset)} ahead`, advice };
  return offset > 60_000
    ? { level: 'warn', what, advice: `${advice} Or the lines are old.` }
    : { level: 'ok', what };
}

function inWords(ms: number): string {
  const units: [string, number][] = [
    ['days', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1_000],
  ];
  const [unit, length] = units.find(([, length]) => ms >= 2 * length) ?? ['ms', 1];
  return `${Math.round(ms / length)} ${unit}`;
}
