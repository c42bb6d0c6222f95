import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { skipWithout } from '../../../../test/engines/needs.ts';
import { claimExpression, customFieldsByLua } from './custom-fields.ts';

const skip = await skipWithout('custom fields as Kong computes them', 'LuaJIT');

/** A Lua string of any bytes. */
const lua = (text: string): string =>
  `"${[...Buffer.from(text)].map((byte) => `\\${String(byte).padStart(3, '0')}`).join('')}"`;

/**
 * What Kong would put into the line: the function in a sandbox with `pcall`, `kong` and `ngx`, where hashing gives key and
 * text back. `header` is a Lua expression.
 */
function run(code: string, header: string): string | undefined {
  const program = `
    local digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
    local function decode(text)
      if text:find('[^%w+/=]') or #text % 4 ~= 0 then return nil end
      local bits, count, out = 0, 0, {}
      for c in text:gsub('=', ''):gmatch('.') do
        bits = bits * 64 + digits:find(c, 1, true) - 1; count = count + 6
        if count >= 8 then
          count = count - 8
          local byte = math.floor(bits / 2 ^ count)
          out[#out + 1] = string.char(byte); bits = bits - byte * 2 ^ count
        end
      end
      return table.concat(out)
    end
    local header = ${header}
    local env = {
      pcall = pcall,
      kong = { request = { get_header = function() if type(header) == 'function' then return header() end return header end } },
      ngx = {
        decode_base64 = decode,
        encode_base64 = function(text) return text end,
        hmac_sha1 = function(key, text) if type(text) ~= 'string' then error('not a text') end return key .. '|' .. text end,
      },
    }
    local value = load(${lua(code)}, 'field', 't', env)()
    io.write(value == nil and 'nil' or '=' .. value)`;
  const { status, stdout, stderr } = spawnSync('luajit', ['-'], { input: program, encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  return stdout === 'nil' ? undefined : stdout.slice(1);
}

const jwt = (payload: string): string =>
  `eyJhbGciOiJub25lIn0.${Buffer.from(payload).toString('base64url')}.c2ln`;

// LuaJIT is what Kong runs.
describe.skipIf(skip)('the expressions in LuaJIT', () => {
  it.each<[string, string | undefined]>([
    [`Bearer ${jwt('{"sub":"a"}')}`, 'a'],
    [`Bearer ${jwt('{"sub":"ab"}')}`, 'ab'],
    [`Bearer ${jwt('{"sub":"abc"}')}`, 'abc'],
    [`bearer ${jwt('{"iss":"x", "sub" : "ünïcode"}')}`, 'ünïcode'],
    [`DPoP ${jwt('{"sub":42}')}`, '42'],
    [`Bearer ${jwt('{"sub":"al\\"ice","z":1}')}`, 'al\\"ice'],
    [`Bearer ${jwt('{"sub":"end\\\\"}')}`, 'end\\\\'],
    // Somebody else's claim of that name, in a text and further inside.
    [`Bearer ${jwt('{"act":{"sub":"m"},"n":"\\"sub\\":\\"m\\"","aud":["sub","m"],"sub":"alice"}')}`, 'alice'],
    [`Bearer ${jwt('{"act":{"sub":"m"}}')}`, undefined],
    [`Bearer ${jwt('{"other":"sub","k":"v"}')}`, undefined],
    [`Bearer ${jwt('{"sub":{"sub":"m"}}')}`, undefined],
    [`Bearer ${jwt('{"sub":null}')}`, undefined],
    [`Bearer ${jwt('{"sub":4.5}')}`, undefined],
    [`Bearer ${jwt('{"sub":"unfinished')}`, undefined],
    [`Bearer ${jwt('[]')}`, undefined],
    ['Bearer opaque', undefined],
    ['Bearer a.!.c', undefined],
    ['Basic ZGFuYTp3cm9uZw==', undefined],
    ['', undefined],
  ])('take the claim of %s', (header, claim) => {
    expect(run(claimExpression('sub', 'k3y'), lua(header))).toBe(
      claim === undefined ? undefined : `k3y|${claim}`,
    );
  });

  it('fail at nothing that a header may be', () => {
    const fields = customFieldsByLua({ token: 't0ken', fingerprintKey: 'k3y', claim: 'sub' })!;
    for (const header of ['nil', 'true', '{}', '42', 'function() error("no request") end', lua('Basic !')]) {
      expect(run(fields['tripline.token']!, header)).toBe('t0ken');
      for (const name of ['tripline.user', 'tripline.claim'])
        expect(run(fields[name]!, header)).toBeUndefined();
    }
    const basic = `Basic ${Buffer.from('dana:wrong').toString('base64')}`;
    expect(run(fields['tripline.user']!, lua(basic))).toBe('k3y|dana');
    expect(run(fields['tripline.credential']!, lua(basic))).toBe(`k3y|${basic}`);
  });
});
