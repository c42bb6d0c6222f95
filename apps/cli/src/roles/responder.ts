import {
  forgeryProblems,
  startResponder,
  startStandby,
  watchPolicyFile,
  type PolicyFile,
  type ResponderOptions,
  type RunningResponder,
} from '@tripline/app-responder';
import { alertTypes } from '@tripline/detection';
import type { KongAdmin } from '@tripline/kong';
import { resolvePath, type Config } from '@tripline/runtime';
import { processName } from '../backends.ts';
import { createConfiguredChannels, createConfiguredSanitizer } from '../configured.ts';
import type { Process } from './process.ts';

/** The responder of this process: it acts while it holds the lease, else it stands by. */
export async function addResponder(
  process: Process,
  admin: KongAdmin | undefined,
): Promise<{ responder: RunningResponder; policies: PolicyFile }> {
  const { loaded, config, dataDir, logger, now, bus, backends, shutdown, context } = process;
  const sanitizer = createConfiguredSanitizer(loaded, dataDir);
  const policies = await watchPolicyFile({
    path: resolvePath(loaded, config.policiesFile),
    logger: logger.child({ role: 'policies' }),
    alertTypes,
    mask: (text) => sanitizer.identifier(text),
    refuse: (text, given) => forgeryProblems(text, given, config.collector),
  });
  shutdown.add('policies', () => policies.close());
  const state = await backends.state('responder');
  const channels = createConfiguredChannels(config, (text) => sanitizer.unknown(text), now);
  shutdown.add('channels', () => channels.close());
  const responder = process.add(
    startStandby({
      ...context('responder'),
      state,
      admin,
      holder: processName(config),
      start: (guarded, metrics) =>
        startResponder({
          ...context('responder'),
          metrics,
          bus,
          state,
          admin: guarded,
          policies,
          channels: channels.list,
          retention: responderRetention(config),
          random: Math.random,
        }),
    }),
  );
  return { responder, policies };
}

const dayMs = 86_400_000;

function responderRetention({
  responder: { retention },
}: Config): NonNullable<ResponderOptions['retention']> {
  return {
    endedMs: retention.endedDays * dayMs,
    endedMax: retention.endedMax,
    dryRunsMax: retention.dryRunsMax,
    liftedMs: retention.liftedDays * dayMs,
    notifiedMs: retention.notifiedAlertDays * dayMs,
    notifiedMax: retention.notifiedAlertsMax,
  };
}
