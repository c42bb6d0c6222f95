import { sourceOf, type ApiCall } from '@tripline/model';
import { createAddressSuccesses } from './address-successes.ts';
import { createAuthEndpoints, type AuthEndpointSettings } from './auth-endpoints.ts';
import { authOutcomeOf } from './auth-outcome.ts';
import { createCredentialAges } from './credential-ages.ts';
import type { ShownCredentials } from './credentials.ts';
import type { DeclaredIdentity } from './declared-identity.ts';
import { createEndpointOf } from './endpoint-of.ts';
import { identityOf } from './identity.ts';
import type { KongAnswer } from './kong-answer.ts';
import { LoginOutcomes } from './login-outcomes.ts';
import { hiddenBytesOf, presentedOf } from './presented.ts';
import type { KongLogLine } from './log-line.ts';
import type { TemplateLearner } from './template-learner.ts';
import { createVerifyingEndpoints, type VerifyingEndpoints } from './verifying-endpoints.ts';

/** What the operator declares about a service (`services[]`), by the name or id that Kong has for it. */
export interface ServiceSettings {
  name: string;
  identity?: DeclaredIdentity | undefined;
  authEndpoints?: readonly AuthEndpointSettings[] | undefined;
}

export interface JudgeOptions {
  services?: readonly ServiceSettings[] | undefined;
  /** Learns which path segments name objects. Left out: their looks and Kong's route paths alone tell. */
  templates?: TemplateLearner | undefined;
  /** Learns which endpoints verify credentials themselves. Left out: begins with nothing learnt. */
  verifying?: VerifyingEndpoints | undefined;
}

/** What of a line decides who acts and what came of it, beside the call itself. */
export interface JudgedLine {
  answer: KongAnswer & Pick<KongLogLine, 'location'>;
  routePaths: unknown;
  shown: ShownCredentials;
  /** The consumer that Kong authenticated, and what to show for it; not the one that stands for the anonymous. */
  consumer: { id: string; name: string } | undefined;
  /** Sanitised id of what Kong authenticated, with or without a consumer. */
  authenticatedEntity: string | undefined;
  /** Token of the caller that the operator declared for the service. */
  declared: string | undefined;
  /** Kong answered without asking an upstream. */
  byKong: boolean;
  isPreflight: boolean;
  /** As sent, without query, not sanitised. */
  rawPath: string;
  /** The member `request` of the line. */
  request: () => unknown;
}

/** Routes of which it is remembered whether they hide credentials; beyond, the one that was seen first is forgotten. */
const routesMost = 5_000;

/**
 * Makes the function that fills in who acts, the endpoint, what was presented and what came of it; every other field of the call
 * must be there. It remembers, within bounds, what later calls are judged by: which endpoints verify credentials, since when
 * credentials are in use, where calls succeed, and which answers of a login that always says 200 are failures. Pure otherwise.
 */
export function createJudge(options: JudgeOptions = {}): (call: ApiCall, line: JudgedLine) => void {
  const endpointOf = createEndpointOf(options.templates);
  const authEndpointOf = createAuthEndpoints(options.services ?? []);
  const verifying = options.verifying ?? createVerifyingEndpoints();
  const ages = createCredentialAges();
  const successes = createAddressSuccesses();
  const outcomes = new LoginOutcomes();

  /** Whether Kong hides the credentials of a route's calls (`hide_credentials`), as those that it authenticated show. */
  const hiding = new Map<string, boolean>();
  const routeKey = (call: ApiCall): string => `${call.service ?? ''} ${call.route ?? ''}`;
  const endpointKey = (call: ApiCall): string => `${call.service ?? ''} ${call.endpoint}`;

  const identify = (call: ApiCall, line: JudgedLine): void => {
    const { consumer, authenticatedEntity, declared, byKong } = line;
    const { status, startedAt, credential } = call;
    const source = sourceOf(call);
    const facts = { consumer, authenticatedEntity, source };
    // Who teaches the learner of path templates is asked before the endpoint is known, so before the service's word counts.
    Object.assign(call, identityOf(facts));
    call.endpoint = endpointOf(call, line.routePaths);
    if (consumer ?? authenticatedEntity) return;
    // What was refused is a guess, and what Kong answered itself was verified by no service.
    if (byKong || status === 401 || (declared ?? credential) === undefined) return;
    const key = endpointKey(call);
    const service = {
      declared,
      presented: credential,
      isPublic: () => verifying.isPublic(key),
      verifies: () => verifying.verifies(key),
      isEstablished: (id: string) => ages.isEstablished(id, startedAt),
      newcomersOf: (id: string) => ages.newcomersOf(source ?? '', id, startedAt),
    };
    Object.assign(call, identityOf({ ...facts, service }));
  };

  const judgeCredentials = (call: ApiCall, line: JudgedLine): void => {
    const { shown, isPreflight, byKong, rawPath, answer, consumer, authenticatedEntity } = line;
    const endpoint = authEndpointOf(call.service, call.method, rawPath);
    const presented = presentedOf({
      answer,
      shown,
      method: call.method,
      status: call.status,
      byKong,
      isPreflight,
      isAuthEndpoint: endpoint !== undefined,
      isIdentified: authenticatedEntity !== undefined || line.declared !== undefined,
      isAnonymous: call.consumerId !== undefined && !consumer,
      hidesCredentials: hiding.get(routeKey(call)),
      hiddenBytes: () => hiddenBytesOf(line.request(), authenticatedEntity !== undefined),
    });
    if (presented !== undefined && !consumer) call.presented = presented;
    const auth = authOutcomeOf({
      answer,
      call,
      presented,
      path: rawPath,
      endpoint,
      isPreflight,
      learnt: () =>
        outcomes.note({
          endpoint: endpointKey(call),
          source: sourceOf(call) ?? '',
          status: call.status,
          responseBytes: call.responseBytes,
          atMs: call.startedAt,
        }),
      showsCredential: (call.user ?? call.credential) !== undefined,
    });
    if (auth !== undefined) call.auth = auth;
  };

  const noteHiding = (call: ApiCall, { authenticatedEntity, shown }: JudgedLine): void => {
    if (authenticatedEntity === undefined || call.status >= 400) return;
    const key = routeKey(call);
    // A fingerprint is there also where Kong hides the header.
    const hides = !shown.showsAuthorization && !shown.hasKey && !shown.hasSessionCookie;
    if (hiding.get(key) === hides) return;
    if (hiding.size >= routesMost) hiding.delete(hiding.keys().next().value!);
    hiding.set(key, hides);
  };

  /** Notes what later calls are judged by, and fills in what earlier ones from the same address came to. */
  const remember = (call: ApiCall, declared: string | undefined): void => {
    const { status, startedAt, service, source, auth, presented, credential } = call;
    if (service === undefined) return;
    const place = sourceOf(call) ?? '';
    if (auth === 'failure' || auth === 'expired') {
      const count = successes.count(place, service, startedAt);
      if (count > 0) call.addressSuccesses = count;
    }
    if (source === 'kong') return;
    const served = status >= 200 && status < 300;
    if (presented === 'nothing' && call.method !== 'OPTIONS') {
      if (served) verifying.note(endpointKey(call), place, 'served', startedAt);
      else if (auth === 'challenge' || status === 403)
        verifying.note(endpointKey(call), place, 'refused', startedAt);
    }
    if (!served) return;
    if (call.actorKind !== 'address') successes.add(place, service, startedAt);
    if (call.actorKind === 'consumer') return;
    if (declared !== undefined) ages.served(declared, startedAt);
    else if (credential !== undefined && verifying.verifies(endpointKey(call)))
      ages.served(credential, startedAt);
  };

  return (call, line) => {
    identify(call, line);
    judgeCredentials(call, line);
    noteHiding(call, line);
    remember(call, line.declared);
  };
}
