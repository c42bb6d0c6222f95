import { simplePattern } from './simple-pattern.ts';

/** An endpoint at which people log in, or prove who they are, as the operator declares it (`services[].authEndpoints`). */
export interface AuthEndpointSettings {
  /** Path as it is sent to Kong; `*` stands for anything within one segment. */
  path: string;
  /** Left out: POST, PUT and PATCH. */
  method?: string | undefined;
  /** How it says no, besides 400, 401, 403, 422 and 429. */
  failure?:
    | {
        /** Statuses that are failures. */
        statuses?: readonly number[] | undefined;
        /** Path that a failed attempt is redirected to; `*` stands for anything. */
        redirectTo?: string | undefined;
        /** A successful answer is larger than this. */
        responseBytesBelow?: number | undefined;
      }
    | undefined;
}

export type AuthEndpoint = AuthEndpointSettings | 'recognised';

const bodyMethods = new Set(['POST', 'PUT', 'PATCH']);

/** A last segment that says by itself that credentials are checked: `login`, `wp-login`, `verify-otp`, `reset-password`. */
const credentialWord =
  /(?:^|-)(?:log-?in|sign-?in|log-?on|sign-?on|authenticate|authentication|otp|totp|mfa|2fa|two-?factor|passcode|security-check)(?:-|$)|^(?:auth|oauth2?|access-token|(?:verify|check|validate|confirm|submit)-?(?:code|pin|token|email|phone|sms|password)|(?:password|pin)-?reset|(?:reset|forgot|change|recover)-?(?:password|pin))$/;
/** Sending a code checks none. */
const sendingWord = /^(?:re)?send-|^request-/;
/** Ordinary words, which mean that below one of `credentialNoun` only: `/otp/verify`, `/oauth2/token`. */
const checkingWord =
  /^(?:verify|verification|validate|confirm|check|submit|challenge|attempt|forgot|reset|change|recover|recovery|unlock|token|tokens|refresh|refresh-token|sessions?|callback|exchange|pin|password|passwords?)$/;
const credentialNoun =
  /(?:^|-)(?:auth|oauth2?|connect|otp|totp|mfa|2fa|two-?factor|account|accounts|users?|me|passwords?|log-?in|sign-?in|sessions?|identity|security|verification|codes?|pins?|passcodes?|sso|iam|reset-password|password-reset)$/;
/** Directories above a single word that say nothing: `/api/v2/sessions`. */
const plainParent = /^(?:api|v[0-9]+|rest|public|web|admin)$/;
const extension = /\.(?:php|aspx?|jsp|do|action|json|cgi|html?)$/;
const grpcMethod =
  /^\/[\w.]+\/(?:[\w]*(?:Login|LogIn|SignIn|SignOn|LogOn|Authenticate|VerifyOtp|VerifyOTP|VerifyCode|VerifyPin|VerifyMfa|ResetPassword|RefreshToken|IssueToken|CreateSession|ExchangeToken)[\w]*)$/;

/**
 * Makes the function that tells whether credentials are checked at an endpoint: one that the operator declared for the service,
 * or one whose path says so (`/auth/login`, `/otp/verify`, `/oauth2/token`, a gRPC method `Login`).
 */
export function createAuthEndpoints(
  services: readonly { name: string; authEndpoints?: readonly AuthEndpointSettings[] | undefined }[],
): (service: string | undefined, method: string, path: string) => AuthEndpoint | undefined {
  const declared = new Map(
    services.map(({ name, authEndpoints = [] }) => [
      name,
      authEndpoints.map((endpoint) => ({ endpoint, matches: simplePattern(endpoint.path) })),
    ]),
  );
  return (service, method, path) => {
    for (const { endpoint, matches } of (service !== undefined && declared.get(service)) || []) {
      const hasMethod = endpoint.method === undefined ? bodyMethods.has(method) : endpoint.method === method;
      if (hasMethod && matches(path)) return endpoint;
    }
    return bodyMethods.has(method) && isAuthPath(path) ? 'recognised' : undefined;
  };
}

function isAuthPath(path: string): boolean {
  if (path.length > 200) return false;
  // Nearly all paths of an API end in a word that is none of these.
  const last = lastSegment(path).toLowerCase().replaceAll('_', '-').replace(extension, '');
  if (grpcMethod.test(path)) return true;
  if (last === '' || sendingWord.test(last)) return false;
  if (credentialWord.test(last)) return true;
  if (!checkingWord.test(last)) return false;
  const segments = path.toLowerCase().replaceAll('_', '-').split('/').filter(Boolean);
  const above = segments.slice(0, -1).filter((segment) => !plainParent.test(segment));
  return above.length === 0 || credentialNoun.test(above.at(-1)!);
}

function lastSegment(path: string): string {
  let end = path.length;
  while (path.charCodeAt(end - 1) === 47) end--;
  return path.slice(path.lastIndexOf('/', end - 1) + 1, end);
}
