import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { configSchema, loadConfig, UserError } from '@tripline/runtime';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createConfiguredAdmin } from '../../apps/cli/src/configured.ts';

type Schema = { properties?: Record<string, Schema>; additionalProperties?: unknown; items?: Schema };
const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }) as Schema;
const sections = Object.keys(schema.properties!);
const mention = new RegExp(`(?<![\\w./@-])(${sections.join('|')})(\\.[a-zA-Z]+)+(?![\\w(])`, 'g');
/** What looks like a setting and is a file of Kong's, or its own Lua. */
const others = /^kong\.(conf|request|response|service|client|node|ctx|log)\b/;

function exists(path: string): boolean {
  let at: Schema | undefined = schema;
  for (const name of path.split('.')) {
    // Names of the operator's choice, as those of headers.
    if (at.properties === undefined && typeof at.additionalProperties === 'object') return true;
    at = (at.items ?? at).properties?.[name];
    if (at === undefined) return false;
  }
  return true;
}

/** Every piece of text in the sources, with where it stands. */
function* texts(directory: string): Generator<{ where: string; text: string }> {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules') yield* texts(path);
      continue;
    }
    if (!path.endsWith('.ts') || /\.(test|contract)\.ts$/.test(path)) continue;
    const file = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
    const found: { where: string; text: string }[] = [];
    const visit = (node: ts.Node): void => {
      const isText =
        ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node);
      const isModule = ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(node.parent);
      if (isText && !isModule) {
        const { line } = file.getLineAndCharacterOfPosition(node.getStart());
        found.push({ where: `${path}:${line + 1}`, text: node.text });
      }
      ts.forEachChild(node, visit);
    };
    ts.forEachChild(file, visit);
    yield* found;
  }
}

describe('messages', () => {
  it('name settings that exist', () => {
    const wrong: string[] = [];
    let mentions = 0;
    for (const root of ['apps', 'packages']) {
      for (const { where, text } of texts(root)) {
        for (const [path] of text.matchAll(mention)) {
          if (others.test(path)) continue;
          mentions++;
          if (!exists(path)) wrong.push(`${where}: ${path}`);
        }
      }
    }
    expect(wrong).toEqual([]);
    // Else the pattern above finds nothing any more.
    expect(mentions).toBeGreaterThan(40);
    expect(exists('kong.adminUrl')).toBe(true);
    expect(exists('kong.admin.url')).toBe(false);
  });

  it.each([
    [{ adminUrl: 'localhost:8001' }, /^kong\.adminUrl: /],
    [{ adminUrl: 'http://u:p@localhost:8001' }, /^kong\.adminUrl: .*kong\.adminHeaders/],
    [{ adminUrl: 'http://localhost:8001', adminToken: 'two\nlines' }, /^kong\.adminToken: /],
    [{ adminUrl: 'http://localhost:8001', adminHeaders: { 'a b': 'c' } }, /^kong\.adminHeaders: "a b"/],
  ])(
    "of an Admin API that cannot be used are the operator's to mend, and name the setting: %j",
    (kong, message) => {
      let config;
      try {
        config = configSchema.parse({ kong });
      } catch {
        // Refused by the configuration itself, which names the setting too.
        const env = Object.fromEntries(
          Object.entries(kong).map(([key, value]) => [
            `TRIPLINE_KONG__${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`,
            typeof value === 'string' ? value : JSON.stringify(value),
          ]),
        );
        expect(() => loadConfig({ cwd: '/', env })).toThrow(UserError);
        return;
      }
      let error: unknown;
      try {
        createConfiguredAdmin({ config, file: undefined, baseDir: '/' });
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(UserError);
      expect((error as Error).message).toMatch(message);
    },
  );
});
