import { describe, expect, it } from 'vitest';
import { createAuthEndpoints } from './auth-endpoints.ts';

const recognise = createAuthEndpoints([]);
const checks = (path: string, method = 'POST'): boolean => recognise('shop', method, path) !== undefined;

describe('endpoints at which credentials are checked', () => {
  it.each(
    `/login /api/v1/login /users/sign_in /wp-login.php /account/LogIn.aspx /auth/login/ /signin-oidc /j_spring_security_check
     /auth /oauth2/token /connect/token /realms/shop/protocol/openid-connect/token /a/oauth/oauth2/token /auth/refresh
     /auth/verify-otp /otp/verify /otp/validate /2fa /mfa/challenge /api/mfa/confirm /pin/check /codes/verify /verify-code
     /password/reset /password-reset/confirm /reset_password /forgot-password /account/password /users/password
     /sessions /api/v2/sessions /users/me/password /acme.identity.v1.Auth/Login /acme.v1.Otp/VerifyCode`.split(
      /\s+/,
    ),
  )('by its path: %s', (path) => expect(checks(path)).toBe(true));

  it.each(
    `/orders /orders/verify /addresses/validate /cart/check /documents/confirm /payments/17/challenge /devices/push/token
     /plugin /blog/index /catalog-index /send-otp /auth/resend-otp /health /analytics/events/sessions /design/signing
     /game/sessions/17 /acme.v1.Orders/Get`.split(/\s+/),
  )('is not: %s', (path) => expect(checks(path)).toBe(false));

  it('only takes what has a body', () => {
    expect(['PUT', 'PATCH'].map((method) => checks('/login', method))).toEqual([true, true]);
    expect(['GET', 'HEAD', 'OPTIONS', 'DELETE'].some((method) => checks('/login', method))).toBe(false);
  });
});
