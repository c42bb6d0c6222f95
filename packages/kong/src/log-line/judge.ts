import { sourceOf, type ApiCall } from '@tripline/model';
import { createAddressSuccesses } from './address-successes.ts';
import { createAuthEndpoints, type AuthEndpointSettings } from './auth-endpoints.ts';
import { authOutcomeOf } from './auth-outcome.ts';
import { createCredentialAges } from './credential-ages.ts';
import type { DeclaredIdentity } from './declared-identity.ts';
import { createEndpointOf } from './endpoint-of.ts';
import { identityOf, type Identity, type IdentityFacts } from './identity.ts';
import type { JudgedLine } from './judged-line.ts';
import { LoginOutcomes } from './login-outcomes.ts';
import { hiddenBytesOf, presentedOf } from './presented.ts';
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
  /** Learns which path segments name objects. Left out: only their looks and Kong's route paths decide. */
  templates?: TemplateLearner | undefined;
  /** Learns which endpoints verify credentials themselves. Left out: begins with nothing learnt. */
  verifying?: VerifyingEndpoints | undefined;
}

/** Of so many routes it is remembered whether they hide credentials; beyond, the one that was seen first is forgotten. */
const maxRoutes = 5_000;

/**
 * Makes the function that fills in who acts, the endpoint, whether a credential was presented and what came of it; all other
 * fields of the call must be there. It remembers, within bounds, by what later calls are judged: which endpoints verify
 * credentials, since when credentials are in use, where calls succeed, and which answers of a login that always answers 200 are
 * failures. Pure otherwise.
 */
export function createJudge(options: JudgeOptions = {}): (call: ApiCall, line: JudgedLine) => void {
  const judge = new Judge(options);
  return (call, line) => judge.judge(call, line);
}

class Judge {
  readonly #endpointOf: ReturnType<typeof createEndpointOf>;
  readonly #authEndpointOf: ReturnType<typeof createAuthEndpoints>;
  readonly #verifying: VerifyingEndpoints;
  readonly #ages = createCredentialAges();
  readonly #successes = createAddressSuccesses();
  readonly #outcomes = new LoginOutcomes();
  /** By route: whether Kong hides the credentials of its calls (`hide_credentials`), as authenticated calls show. */
  readonly #hidesCredentials = new Map<string, boolean>();

  constructor(options: JudgeOptions) {
    this.#endpointOf = createEndpointOf(options.templates);
    this.#authEndpointOf = createAuthEndpoints(options.services ?? []);
    this.#verifying = options.verifying ?? createVerifyingEndpoints();
  }

  judge(call: ApiCall, line: JudgedLine): void {
    const source = sourceOf(call);
    this.#identify(call, line, source);
    this.#judgeCredentials(call, line, source);
    this.#noteHiding(call, line);
    if (call.service !== undefined) this.#remember(call, line, call.service, source ?? '');
  }

  #identify(call: ApiCall, line: JudgedLine, source: string | undefined): void {
    const { consumer, authenticatedEntity, declared } = line;
    const facts: IdentityFacts = { consumer, authenticatedEntity, source, service: undefined };
    // Who teaches the learner of path templates must be known before the endpoint is, so without the service's evidence.
    setIdentity(call, identityOf(facts));
    call.endpoint = this.#endpointOf(call, line.routePaths);
    if (consumer ?? authenticatedEntity) return;
    // What was refused is a guess, and what Kong answered itself was verified by no service.
    const presented = call.credential;
    if (line.byKong || call.status === 401 || (declared ?? presented) === undefined) return;
    const endpoint = endpointKey(call);
    const { startedAt } = call;
    facts.service = {
      declared,
      presented,
      isPublic: () => this.#verifying.isPublic(endpoint),
      verifies: () => this.#verifying.verifies(endpoint),
      isEstablished: (id) => this.#ages.isEstablished(id, startedAt),
      newcomersOf: (id) => this.#ages.newcomersOf(source ?? '', id, startedAt),
    };
    setIdentity(call, identityOf(facts));
  }

  #judgeCredentials(call: ApiCall, line: JudgedLine, source: string | undefined): void {
    const { consumer, authenticatedEntity } = line;
    const endpoint = this.#authEndpointOf(call.service, call.method, line.rawPath);
    const isRefusedByKong = call.status === 401 && line.byKong;
    const presented = presentedOf(call, line, {
      isAuthEndpoint: endpoint !== undefined,
      hidesCredentials: isRefusedByKong ? this.#hidesCredentials.get(routeKey(call)) : undefined,
      hiddenBytes: () => hiddenBytesOf(line.request(), authenticatedEntity !== undefined),
    });
    if (presented !== undefined && !consumer) call.presented = presented;
    const learnt = (): 'failure' | 'success' | undefined =>
      this.#outcomes.note({
        endpoint: endpointKey(call),
        source: source ?? '',
        status: call.status,
        responseBytes: call.responseBytes,
        atMs: call.startedAt,
      });
    const auth = authOutcomeOf(call, line, { presented, endpoint, learnt });
    if (auth !== undefined) call.auth = auth;
  }

  #noteHiding(call: ApiCall, { authenticatedEntity, shown }: JudgedLine): void {
    if (authenticatedEntity === undefined || call.status >= 400) return;
    const key = routeKey(call);
    // A fingerprint is there also where Kong hides the header.
    const hides = !shown.showsAuthorization && !shown.hasKey && !shown.hasSessionCookie;
    const routes = this.#hidesCredentials;
    if (routes.get(key) === hides) return;
    if (routes.size >= maxRoutes) routes.delete(routes.keys().next().value!);
    routes.set(key, hides);
  }

  /** Notes by what later calls are judged, and fills in how many earlier ones from the same address succeeded. */
  #remember(call: ApiCall, { declared }: JudgedLine, service: string, source: string): void {
    const { status, startedAt, auth, credential } = call;
    if (auth === 'failure' || auth === 'expired') {
      const count = this.#successes.count(source, service, startedAt);
      if (count > 0) call.addressSuccesses = count;
    }
    if (call.source === 'kong') return;
    const isServed = status >= 200 && status < 300;
    if (call.presented === 'nothing' && call.method !== 'OPTIONS') {
      if (isServed) this.#verifying.note(endpointKey(call), source, 'served', startedAt);
      else if (auth === 'challenge' || status === 403)
        this.#verifying.note(endpointKey(call), source, 'refused', startedAt);
    }
    if (!isServed) return;
    if (call.actorKind !== 'address') this.#successes.add(source, service, startedAt);
    if (call.actorKind === 'consumer') return;
    if (declared !== undefined) this.#ages.served(declared, startedAt);
    else if (credential !== undefined && this.#verifying.verifies(endpointKey(call)))
      this.#ages.served(credential, startedAt);
  }
}

function setIdentity(call: ApiCall, { actorKind, actorId, actorName, verifiedBy }: Identity): void {
  call.actorKind = actorKind;
  call.actorId = actorId;
  call.actorName = actorName;
  if (verifiedBy !== undefined) call.verifiedBy = verifiedBy;
}

function routeKey(call: ApiCall): string {
  return `${call.service ?? ''} ${call.route ?? ''}`;
}

function endpointKey(call: ApiCall): string {
  return `${call.service ?? ''} ${call.endpoint}`;
}
