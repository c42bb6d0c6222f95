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

/** The last segment of paths at which credentials are checked; with `otp/verify` and the like the last but one. */
const endings =
  /^(?:log-?in|sign-?in|sign-?on|log-?on|authenticate|authentication|auth|token|tokens|refresh|refresh-token|sessions?|otp|totp|mfa|2fa|two-?factor|passcode|pin|password|verify-?(?:otp|code|pin|token|email|phone|mfa|2fa|sms|password)?|(?:check|validate|confirm|submit)-?(?:otp|code|pin|mfa|2fa)|verification|(?:password|pin)-?reset|reset-?(?:password|pin)?|forgot-?password|change-?password|recover|recovery|unlock|access-token|oauth2?|callback)$/;
const parents =
  /^(?:auth|oauth2?|otp|totp|mfa|2fa|two-?factor|account|accounts|users?|me|password|passwords|login|signin|sessions?|identity|security|verification|codes?|pins?|v[0-9]+|api|iam|sso|admin)$/;
/** Endings that mean a login only below one of `parents`, as they are ordinary words elsewhere. */
const weakEndings =
  /^(?:verify|verification|token|tokens|refresh|sessions?|callback|reset|pin|recover|recovery|unlock|password)$/;
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
  if (grpcMethod.test(path)) return true;
  const segments = path.toLowerCase().replaceAll('_', '-').split('/').filter(Boolean);
  const last = segments.at(-1);
  if (last === undefined || !endings.test(last)) return false;
  const parent = segments.at(-2);
  return !weakEndings.test(last) || (parent !== undefined && parents.test(parent)) || segments.length === 1;
}
