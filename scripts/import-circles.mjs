// The lint rule `tripline/import-circles`: no file may import itself through others, not even for its types only.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** @type {import('eslint').Rule.RuleModule} */
export const importCircles = {
  meta: {
    type: 'problem',
    schema: [],
    messages: { circle: 'Imports go in a circle: {{circle}}. Move what both need into a file of its own.' },
  },
  create(context) {
    const from = context.physicalFilename;
    const check = ({ source }) => {
      const to = typeof source?.value === 'string' ? targetOf(from, source.value) : undefined;
      const way = to === undefined ? undefined : wayBetween(to, from);
      if (way === undefined) return;
      const circle = [from, ...way].map((path) => relative(root, path)).join(' -> ');
      context.report({ node: source, messageId: 'circle', data: { circle } });
    };
    return {
      ImportDeclaration: check,
      ImportExpression: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
    };
  },
};

/** The shortest way along imports, both ends included; undefined if there is none. */
function wayBetween(from, to) {
  const importedBy = new Map([[from, undefined]]);
  for (const at of importedBy.keys()) {
    if (at === to) {
      const way = [];
      for (let step = to; step !== undefined; step = importedBy.get(step)) way.unshift(step);
      return way;
    }
    for (const next of importsOf(at)) if (!importedBy.has(next)) importedBy.set(next, at);
  }
  return undefined;
}

const imports = new Map();

function importsOf(path) {
  if (!imports.has(path)) {
    const specifiers = readFileSync(path, 'utf8').matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g);
    imports.set(
      path,
      [...specifiers].map(([, one]) => targetOf(path, one)).filter((one) => one !== undefined),
    );
  }
  return imports.get(path);
}

/** The file of this repository that an import leads to; undefined for a package from elsewhere. */
function targetOf(from, specifier) {
  const path = specifier.startsWith('.') ? resolve(dirname(from), specifier) : entries().get(specifier);
  return path !== undefined && existsSync(path) ? path : undefined;
}

let knownEntries;

/** Entry files of the workspaces, by the name under which they are imported. */
function entries() {
  if (knownEntries) return knownEntries;
  knownEntries = new Map();
  for (const folder of ['apps', 'packages']) {
    for (const name of readdirSync(join(root, folder))) {
      const manifest = join(root, folder, name, 'package.json');
      if (!existsSync(manifest)) continue;
      const { name: packageName, exports = {} } = JSON.parse(readFileSync(manifest, 'utf8'));
      for (const [subpath, file] of Object.entries(exports))
        if (typeof file === 'string')
          knownEntries.set(packageName + subpath.slice(1), join(dirname(manifest), file));
    }
  }
  return knownEntries;
}
