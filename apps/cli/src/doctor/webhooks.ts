import type { ChannelStatus } from '@tripline/app-responder';
import type { Finding, Subject } from './finding.ts';

/** Are webhooks delivered? */
export async function* checkDelivery({ status }: Subject): AsyncGenerator<Finding> {
  yield* checkWebhooks((await status())?.webhooks ?? []);
}

export function checkWebhooks(webhooks: readonly ChannelStatus[]): Finding[] {
  return webhooks.flatMap(({ channel, problem, waiting, collecting, deadLetters, lastDeadLetter }) => {
    const findings: Finding[] = [];
    if (problem !== null) {
      findings.push({
        level: 'warn',
        what: `webhooks: ${problem}; ${waiting} messages wait, ${collecting} are counted for the next digests`,
        advice: 'Others are not delayed. Each message is tried for a day, one that is refused four times.',
      });
    }
    if (lastDeadLetter) {
      const at = new Date(lastDeadLetter.at).toISOString();
      findings.push({
        level: 'warn',
        what: `webhooks: ${deadLetters} messages to ${channel} were given up since the start, the last at ${at}: ${lastDeadLetter.detail}`,
        advice: 'They are in the topic dead-letters, their alerts in the lake. Mend the receiver or its URL.',
      });
    }
    return findings.length > 0 ? findings : [{ level: 'ok', what: `webhooks: ${channel} takes messages` }];
  });
}
