import type { DetectorResult, Evaluation, VariantResult } from './evaluate.ts';

const show = (value: number | null): string => (value === null ? '–' : value.toLocaleString('en-US'));
const percent = (value: number | null): string => (value === null ? '–' : `${Math.round(value * 100)} %`);

/** Markdown table of the detectors. */
export function detectorTable({ detectors }: Evaluation): string {
  return table(
    [
      'detector',
      'found / planted',
      'recall',
      'seconds to alert (p50)',
      'requests to alert (p50)',
      'alerts per episode',
      'false per 1,000 consumer-days',
      'about other attacks',
    ],
    Object.entries(detectors).map(([type, one]) => [
      type,
      `${one.found} / ${one.planted}`,
      percent(one.recall),
      show(one.secondsToAlertP50),
      show(one.requestsToAlertP50),
      show(one.alertsPerEpisode),
      `${show(one.falsePer1000ConsumerDays)} (${one.falseAlerts})`,
      show(one.collateral),
    ]),
  );
}

/** Markdown tables of each detector's variants, and of what its false alerts were about. */
export function details({ detectors }: Evaluation): string {
  return Object.entries(detectors)
    .filter(([, one]) => one.planted > 0 || one.falseAlerts > 0)
    .map(([type, one]) => [`### ${type}`, variantTable(one), falseTable(one)].filter(Boolean).join('\n\n'))
    .join('\n\n');
}

function variantTable({ byVariant }: DetectorResult): string {
  return table(
    ['variant', 'attack', 'found / planted', 'seconds (p50)', 'requests (p50)'],
    Object.entries(byVariant).map(([variant, one]: [string, VariantResult]) => [
      variant,
      `${one.title}${one.optional ? ' (optional, not counted)' : ''}`,
      `${one.found} / ${one.planted}`,
      show(one.secondsToAlertP50),
      show(one.requestsToAlertP50),
    ]),
  );
}

function falseTable({ falseBy }: DetectorResult): string {
  const rows = Object.entries(falseBy);
  return rows.length === 0
    ? ''
    : table(
        ['false alerts', 'about'],
        rows.map(([scenario, count]) => [String(count), scenario]),
      );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(3, ...all.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

/** docs/evaluation.md. */
export function page(evaluation: Evaluation): string {
  const { seeds, days, consumers, consumerDays, calls, openedAccounts } = evaluation;
  return `# What is found, and whom it troubles

Made by \`npm run evaluate -- --days ${days} --consumers ${consumers} --seeds ${seeds.join(',')} --write\`. Do not edit: the next run
writes it anew.

Seeds ${seeds.join(', ')}; ${days} days, ${consumers.toLocaleString('en-US')} consumers and those of the scenarios, ${consumerDays.toLocaleString('en-US')} consumer-days,
${calls.toLocaleString('en-US')} API calls. ${
    openedAccounts.opened === 0
      ? ''
      : `Attackers opened ${openedAccounts.opened} accounts, of which alerts name ${openedAccounts.named}.`
  }

${detectorTable(evaluation)}

## What is simulated

\`test/traffic\` makes the traffic of a population, by event time and from a seed: consumers of very different size (the
largest 1 % send a quarter of all requests) in 14 countries, each with its day, week and holidays; phones that wander
through their carrier's addresses, offices behind one address, VPN exits, IPv6; servers, and machines that call by the clock;
people who log in and mistype one time in ten; visitors who come once. Lines come late, 1 % twice, and 25 minutes of them
at once after an outage of the collector. The databases that locate addresses are wrong as such databases are.

Into this it puts what must not alert (\`test/traffic/benign.ts\`) and what must (\`test/traffic/attacks.ts\`), each
variant of the catalogue once per seed, with an intensity and an evasion drawn from the seed. With \`--invent KIND\` every
attacker without a consumer presents a fresh invented credential with each request (in a header, as a bearer token, basic
user, query parameter or cookie); a test holds that none of the attacks found without is missed then.

The API calls go through the processor's own fold, in the order in which their lines would arrive. \`npm run traffic\`
writes the same traffic as log lines; a test holds that both are the same.

## How alerts are matched to attacks

- **Time.** The alert was raised after the attack began; what it is about began at most an hour after the attack's last
  request and did not end more than ten minutes before its first.
- **Who.** An alert about a consumer, credential or address belongs to an attack in which that actor or address took part.
  An alert about an endpoint or a campaign belongs to the one attack that sent the most requests to the alert's endpoint, or
  from its sources, in its time; to one of a type that it finds, if there was any.
- **Type.** It finds the attack if its type is the planted one or a close relative: credential stuffing and brute force,
  impossible travel and credential sharing, data scraping and object enumeration. If not, it is neither a find nor false, and
  counted as about other attacks.
- **False** is every other alert, unless the catalogue tolerates it (one alert about the migration of a large customer, one
  about a device with an old password, …). Consumer-days are those of Kong consumers only.

Seconds and requests to alert count from the attack's first request, by event time. A stale credential is no attack: its scenarios
tolerate an alert.

**Seeds.** Whoever tunes a detector uses seeds 1 to 99. Reports are made with seeds from 1001 on, and nothing is tuned on
them: what they miss is reported.

## By variant

${details(evaluation)}
`;
}
