import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TemplateLearner } from '@tripline/kong';
import { createLogger } from '@tripline/runtime';
import { afterEach, describe, expect, it } from 'vitest';
import { openTemplateFile } from './template-file.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), 'tripline-templates-'));
  undo.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Opens the file; `log` gets what is told. */
async function open(
  path: string,
  log: string[] = [],
): Promise<{ learner: TemplateLearner; close: () => Promise<void> }> {
  const logger = createLogger({
    level: 'info',
    pretty: false,
    destination: { write: (line) => void log.push(line) },
  });
  const file = await openTemplateFile({ path, logger, saveEveryMs: 5 });
  undo.push(() => file.close());
  return file;
}

const slugs = 'abcdefghijklmnopqrstuvwxyz';
function teach(learner: TemplateLearner): void {
  for (let index = 0; index < 26 ** 2; index++) {
    const slug = `${slugs[index % 26]}${slugs[Math.floor(index / 26)]}-shoe`;
    learner.template('catalog', `/products/${slug}`, [], {
      actorId: `customer-${index % 9}`,
      ip: '192.0.2.1',
      method: 'GET',
    });
  }
}
const ask = (learner: TemplateLearner): string =>
  learner.template('catalog', '/products/red-shoe', [], undefined);

describe('learnt path templates', () => {
  it('are saved by themselves, and known after a restart', async () => {
    const path = join(scratch(), 'data', 'templates.json');
    const log: string[] = [];
    const first = await open(path, log);
    expect(ask(first.learner)).toBe('/products/red-shoe');
    teach(first.learner);
    await expect.poll(() => readdirSync(join(path, '..'))).toEqual(['templates.json']);
    expect(log.join('')).toContain('learnt that /products/{id} of catalog is one endpoint');
    expect(ask((await open(path)).learner)).toBe('/products/{id}');
  });

  it('are saved when the collector stops', async () => {
    const path = join(scratch(), 'templates.json');
    const first = await open(path);
    teach(first.learner);
    await first.close();
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      version: 1,
      templates: [{ service: 'catalog', under: '/products', words: [] }],
    });
  });

  it.each([
    ['half a file', '{"version":1,"templates":[{"serv'],
    ['another version', '{"version":2,"templates":[]}'],
    ['another shape', '{"version":1,"templates":[{"service":"a","under":"b","words":[]}]}'],
    ['nothing', ''],
  ])('are learnt anew from %s, which is told', async (_what, text) => {
    const path = join(scratch(), 'templates.json');
    writeFileSync(path, text);
    const log: string[] = [];
    const { learner, close } = await open(path, log);
    expect(log.join('')).toContain('learnt anew');
    expect(ask(learner)).toBe('/products/red-shoe');
    teach(learner);
    await close();
    expect(ask((await open(path)).learner)).toBe('/products/{id}');
  });

  it('that cannot be saved are told once, and saved when that is possible again', async () => {
    const directory = scratch();
    writeFileSync(join(directory, 'in-the-way'), '');
    const path = join(directory, 'in-the-way', 'templates.json');
    const log: string[] = [];
    const { learner, close } = await open(path, log);
    log.length = 0;
    let tries = 0;
    const learnt = learner.learnt.bind(learner);
    learner.learnt = () => {
      tries++;
      return learnt();
    };
    teach(learner);
    await expect.poll(() => tries).toBeGreaterThan(3);
    expect(log.join('').split('cannot be saved')).toHaveLength(2);
    rmSync(join(directory, 'in-the-way'));
    await close();
    expect(ask((await open(path)).learner)).toBe('/products/{id}');
  });
});
