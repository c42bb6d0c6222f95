/** What Kong's logging plugin may hold for Tripline besides the collector's address; see `customFieldsByLua`. */
export interface CustomFieldSecrets {
  /** Carried by every line, so that the collector can refuse lines that lack it. */
  token?: string;
  /** Key of the fingerprints of presented credentials, user names and claims, which Kong computes. */
  fingerprintKey?: string;
  /** Claim of a JSON Web Token that says who calls, such as `sub`: its fingerprint becomes `tripline.claim`. */
  claim?: string;
}

/** Names of the custom fields that Tripline owns begin so; Kong nests at the dot. */
export const customFieldPrefix = 'tripline.';

const readAuthorization = `local h = kong.request.get_header('authorization'); if not h then return nil end; `;

/**
 * The values of `config.custom_fields_by_lua`, undefined if neither token nor key is given. An error in one of these
 * functions would lose Kong's whole line, so none of them can fail: each is a constant or runs in `pcall`, and a nil leaves
 * the field out. Fingerprints are HMAC-SHA1 in base64. What is inside `pcall` for credential and user was run on Kong
 * Gateway 3.9.3; Kong's sandbox has `pcall`. Token and key go into Lua strings as they are: their alphabet
 * (`secretProblem`) has nothing that could end or escape a Lua string. Throws an `Error` if one breaks it.
 */
export function customFieldsByLua({
  token,
  fingerprintKey,
  claim,
}: CustomFieldSecrets): Record<string, string> | undefined {
  const fields: Record<string, string> = {};
  if (token !== undefined) fields['tripline.token'] = `return '${safe('token', token)}'`;
  if (fingerprintKey !== undefined) {
    const key = safe('fingerprintKey', fingerprintKey);
    fields['tripline.credential'] = guarded(
      `local h = kong.request.get_header('authorization'); ` +
        `if h then return ngx.encode_base64(ngx.hmac_sha1('${key}', h)) end`,
    );
    fields['tripline.user'] = guarded(
      readAuthorization +
        `local b = h:match('^[Bb]asic%s+(.+)$'); if not b then return nil end; ` +
        `local d = ngx.decode_base64(b); if not d then return nil end; ` +
        `local u = d:match('^([^:]*):'); if u then return ngx.encode_base64(ngx.hmac_sha1('${key}', u)) end`,
    );
    if (claim !== undefined) fields['tripline.claim'] = claimExpression(claim, fingerprintKey);
  }
  return Object.keys(fields).length > 0 ? fields : undefined;
}

/**
 * A Lua expression that gives the keyed fingerprint of a claim (text or whole number) of the JSON Web Token in the
 * Authorization header, under any scheme; nil where there is no such token or claim. It verifies nothing: a claim is an
 * identity only where something else verified the token. Kong's sandbox has no JSON library, so the expression walks the
 * payload by itself and looks at members of the outermost object only: a claim of the same name further inside is another
 * one. The fingerprint is of the bytes of the payload: two ways of escaping the same text differ. Throws an `Error` if the
 * claim or the key has a character that is not allowed.
 */
export function claimExpression(claim: string, key: string): string {
  if (!/^[A-Za-z0-9._:/@-]{1,200}$/.test(claim)) {
    throw new Error(`claim "${claim}" is not allowed; allowed: 1 to 200 of A-Z a-z 0-9 . _ : / @ -`);
  }
  return guarded(
    readAuthorization +
      `local p = h:match('^%s*[%w-]+%s+[%w_-]+%.([%w_-]+)%.[%w_-]*%s*$'); if not p then return nil end; ` +
      `p = p:gsub('%-', '+'):gsub('_', '/'); ` +
      `local j = ngx.decode_base64(p .. ('==='):sub(1, -#p % 4)); if not j then return nil end; ` +
      `local function found(v) return ngx.encode_base64(ngx.hmac_sha1('${safe('fingerprintKey', key)}', v)) end; ` +
      `local at, depth, name, after = 1, 0, nil, false; ` +
      `while true do ` +
      `local s = j:find('["{}%[%]:,]', at); if not s then return nil end; ` +
      `local c = j:sub(s, s); at = s + 1; ` +
      `if c == '"' then ` +
      `local e = j:find('["\\\\]', at); ` +
      `while e and j:sub(e, e) ~= '"' do e = j:find('["\\\\]', e + 2) end; ` +
      `if not e then return nil end; ` +
      `local t = j:sub(s + 1, e - 1); at = e + 1; ` +
      `if depth == 1 then ` +
      `if not after then name = t elseif name == '${claim}' then return found(t) end ` +
      `end ` +
      `elseif c == '{' or c == '[' then depth = depth + 1 ` +
      `elseif c == '}' or c == ']' then depth = depth - 1 ` +
      `elseif depth == 1 then ` +
      `after = c == ':'; ` +
      `local n = after and name == '${claim}' and j:match('^%s*(%-?%d+)%s*[,}]', at); ` +
      `if n then return found(n) end ` +
      `end ` +
      `end`,
  );
}

/** Runs the statements so that an error in them leaves the field out, and does not lose the line. */
function guarded(statements: string): string {
  return `local ok, v = pcall(function() ${statements} end); if ok then return v end`;
}

const constant = /^\s*return\s+(nil|true|false|-?[0-9.]+|'[^'\\]*'|"[^"\\]*")\s*;?\s*$/;

/**
 * Names of those custom fields whose function could fail: it is no constant and runs nothing in `pcall`. If one fails,
 * Kong writes the whole line nowhere.
 */
export function fieldsThatCanFail(fields: Record<string, string>): string[] {
  return Object.entries(fields)
    .filter(([, lua]) => !constant.test(lua) && !/\bx?pcall\s*\(/.test(lua))
    .map(([name]) => name);
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
