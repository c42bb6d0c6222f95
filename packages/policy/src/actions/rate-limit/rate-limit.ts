import { scopeOf } from '@tripline/kong/precedence';
import { z } from 'zod';
import {
  consumerScope,
  copiesMax,
  refused,
  type Plan,
  type PlanRequest,
  type ResponseKind,
  type SettingProblem,
} from '../action.ts';
import { actionId, duration } from '../fields.ts';
import { describePlugin, occupiedBy } from '../words.ts';
import { copiesFor, whyUnsafe } from './copies.ts';
import { limitWindows, ownLimitConfig, smallestLimits, stricterConfig } from './limits.ts';

const schema = z
  .strictObject({
    type: z.literal('rate-limit'),
    id: actionId,
    duration,
    second: z.int().min(1).optional().describe('Requests per second.'),
    minute: z.int().min(1).optional().describe('Requests per minute.'),
    hour: z.int().min(1).optional().describe('Requests per hour.'),
  })
  .refine((action) => action.second ?? action.minute ?? action.hour, {
    message: 'at least one of second, minute and hour is needed',
  })
  .describe("Kong's rate-limiting on the consumer.");

export type RateLimitAction = z.infer<typeof schema>;

/** Limits the requests of a consumer, never to more than the operator allows. */
export const rateLimit: ResponseKind<RateLimitAction> = {
  kind: 'response',
  type: 'rate-limit',
  schema,
  check: checkWindows,
  documentation: {
    inKong: '`rate-limiting` on the consumer, counted by each Kong node',
    settings: '`duration`, and `second`, `minute`, `hour`',
  },
  targets: ['consumer'],
  plugin: {
    name: 'rate-limiting',
    unsetFields: [...limitWindows, 'path', 'header_name'],
    dependsOnOperator: true,
  },
  plan,
};

/** Kong refuses a limit below that of a shorter window, which must show before there is an attack. */
function checkWindows(settings: Readonly<Record<string, unknown>>): SettingProblem[] {
  const windows = (['second', 'minute', 'hour'] as const).filter(
    (window) => typeof settings[window] === 'number',
  );
  return windows.slice(1).flatMap((window, at) => {
    const shorter = windows[at]!;
    const [limit, shorterLimit] = [settings[window] as number, settings[shorter] as number];
    if (limit >= shorterLimit) return [];
    return [
      {
        setting: window,
        message: `${limit} per ${window} is less than ${shorterLimit} per ${shorter}; allowed: at least ${shorterLimit}`,
      },
    ];
  });
}

/**
 * Of several limits the smallest of each window counts. Kong applies one configuration to a request, the most specific one.
 * So that a limit on the consumer does not lift the operator's own on routes, services or everywhere, each of those that it
 * would replace is copied to the same place for this consumer alone, with the lower limit of each window. Where that
 * cannot be done without lifting one of them, nothing is attached.
 */
function plan({ target, settings, operators, copiesLeft, makePlugin }: PlanRequest<RateLimitAction>): Plan {
  const consumerId = target.id;
  const everywhere = consumerScope(consumerId);
  if (operators.at(everywhere)) return refused(occupiedBy('rate-limiting'));
  const [ofGroup] = operators.onConsumerGroups;
  if (ofGroup) {
    return refused(
      `whether ${describePlugin(ofGroup)} limits this consumer cannot be seen, and a limit on the consumer would take its place; nothing was attached`,
    );
  }
  const limits = smallestLimits(settings);
  const { needed, onConsumer, remark } = copiesFor(consumerId, limits, operators);
  if (needed.length === 0 && !onConsumer) return refused(`nothing was attached: ${remark ?? ''}`);
  const why = whyUnsafe(needed, consumerId, operators);
  if (why !== null) return refused(`${why}; nothing was attached`);
  if (needed.length > copiesLeft) {
    return refused(
      `${copiesMax} copies of your rate-limiting plugins are in force for consumers with a limit, the most allowed: no further consumer is limited until some end`,
    );
  }
  const global = operators.winner(everywhere);
  const config = global ? stricterConfig(global.config, limits) : ownLimitConfig(limits);
  const plugins = needed.map((copy) =>
    makePlugin({ ...scopeOf(copy.operator), consumer: consumerId }, copy.config),
  );
  if (onConsumer) plugins.push(makePlugin(everywhere, config));
  return { plugins, refusal: null, remark };
}
