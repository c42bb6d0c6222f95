/** What the collector's tcp-log plugin may hold besides its address; see `customFieldsByLua`. */
export interface CustomFieldSecrets {
  /** Carried by every line, so that the collector can refuse lines that lack it. */
  token?: string;
  /** Key of the fingerprints of presented credentials and user names, which Kong computes. */
  fingerprintKey?: string;
}

/** Names of the custom fields that Tripline owns begin so; Kong nests at the dot. */
export const customFieldPrefix = 'tripline.';

/**
 * The values of `config.custom_fields_by_lua`, undefined if neither token nor key is given. The expressions were run on
 * Kong Gateway 3.9.3: HMAC-SHA1 in base64 of the Authorization header, and of the user name in it for basic auth; a nil
 * leaves the field out. Token and key go into Lua strings as they are: their alphabet (`secretProblem`) has nothing that
 * could end or escape a Lua string. Throws an `Error` if one breaks it.
 */
export function customFieldsByLua({
  token,
  fingerprintKey,
}: CustomFieldSecrets): Record<string, string> | undefined {
  const fields: Record<string, string> = {};
  if (token !== undefined) fields['tripline.token'] = `return '${safe('token', token)}'`;
  if (fingerprintKey !== undefined) {
    const key = safe('fingerprintKey', fingerprintKey);
    fields['tripline.credential'] =
      `local h = kong.request.get_header('authorization'); ` +
      `if h then return ngx.encode_base64(ngx.hmac_sha1('${key}', h)) end`;
    fields['tripline.user'] =
      `local h = kong.request.get_header('authorization'); if not h then return nil end; ` +
      `local b = h:match('^[Bb]asic%s+(.+)$'); if not b then return nil end; ` +
      `local d = ngx.decode_base64(b); if not d then return nil end; ` +
      `local u = d:match('^([^:]*):'); if u then return ngx.encode_base64(ngx.hmac_sha1('${key}', u)) end`;
  }
  return Object.keys(fields).length > 0 ? fields : undefined;
}

/** Says what is wrong with a token or key, never showing it; undefined if it can be used. */
export function secretProblem(name: string, value: string): string | undefined {
  if (/^[A-Za-z0-9._~+/=-]{1,200}$/.test(value)) return undefined;
  const length =
    value.length === 0 ? 'is empty' : value.length > 200 ? `has ${value.length} characters` : undefined;
  return (
    `${name} ${length ?? 'has a character that is not allowed'}. Allowed: 1 to 200 of A-Z a-z 0-9 . _ ~ + / = - ` +
    `(for example the output of "openssl rand -base64 32").`
  );
}

function safe(name: string, value: string): string {
  const problem = secretProblem(name, value);
  if (problem !== undefined) throw new Error(problem);
  return value;
}
