import { z } from 'zod';
import {
  consumerScope,
  type Plan,
  type PlanRequest,
  type ResponseKind,
  type SettingProblem,
} from '../action.ts';
import { actionId, duration } from '../fields.ts';
import { describePlugins } from '../words.ts';

const schema = z
  .strictObject({
    type: z.literal('block'),
    id: actionId,
    duration,
    status: z
      .int()
      .min(400)
      .max(599)
      .default(403)
      .describe(
        'HTTP status that the consumer gets: 400 to 599, so that what the block refused is told from what it served.',
      ),
    message: z
      .string()
      .max(500)
      .default('Blocked because of unusual traffic')
      .describe('Message that the consumer gets.'),
  })
  .describe("Kong's request-termination on the consumer.");

export type BlockAction = z.infer<typeof schema>;

/** Refuses all requests of a consumer. */
export const block: ResponseKind<BlockAction> = {
  kind: 'response',
  type: 'block',
  schema,
  check: checkMessage,
  documentation: {
    inKong: '`request-termination` on the consumer',
    settings: '`duration`, `status` (403), `message`',
  },
  targets: ['consumer'],
  plugin: {
    name: 'request-termination',
    unsetFields: ['body', 'content_type', 'trigger', 'echo'],
    dependsOnOperator: false,
  },
  plan,
};

function checkMessage({ message }: Readonly<Record<string, unknown>>): SettingProblem[] {
  if (message !== '') return [];
  return [
    {
      setting: 'message',
      message: '"" is not allowed here; allowed: 1 to 500 characters (leave it out for the default)',
    },
  ];
}

/**
 * The block that lasts longest gives status and message. It wins over the operator's plugins, except those for route and
 * service and those for this consumer on a route or service.
 */
function plan({ target, settings, operators, makePlugin }: PlanRequest<BlockAction>): Plan {
  const [{ status, message }] = settings;
  const masking = [
    ...(operators.ofConsumer.get(target.id) ?? []),
    ...operators.replaceable(target.id).filter(({ route, service }) => route && service),
  ];
  return {
    plugins: [makePlugin(consumerScope(target.id), { status_code: status, message })],
    refusal: null,
    remark: describePlugins([
      ['masked by', masking],
      ['may be masked by', operators.onConsumerGroups],
    ]),
  };
}
