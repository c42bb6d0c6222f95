import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createTemplateLearner, type LearntTemplate, type TemplateLearner } from '@tripline/kong';
import type { Logger } from '@tripline/runtime';

export interface TemplateFileOptions {
  /** JSON; this process's own. */
  path: string;
  logger: Logger;
  /** How often it is looked whether there is something to save, in ms. Default 10,000. */
  saveEveryMs?: number;
}

/** A learner whose knowledge outlives the process. */
export interface TemplateFile {
  learner: TemplateLearner;
  /** Saves what is not saved yet, and ends. Never rejects. */
  close: () => Promise<void>;
}

const version = 1;

/**
 * Opens the file of learnt path templates. One that is missing is a fresh start, and so is one that cannot be used, which is
 * told. What was learnt since the last save is lost with a kill, and learnt again. A disk that fails is told, and tried
 * again each time.
 */
export async function openTemplateFile(options: TemplateFileOptions): Promise<TemplateFile> {
  const { path, logger } = options;
  const learnt = await read(path, logger);
  const learner = createTemplateLearner({ learnt });
  const known = new Set(learnt.map(nameOf));
  let saved = learner.revision;
  let told = '';
  let saving = Promise.resolve();

  const save = async (): Promise<void> => {
    const { revision } = learner;
    if (revision === saved) return;
    const templates = learner.learnt();
    for (const template of templates) {
      if (known.has(nameOf(template))) continue;
      known.add(nameOf(template));
      logger.info(template, `learnt that ${template.under}/{id} of ${template.service} is one endpoint`);
    }
    try {
      await replaceFile(path, `${JSON.stringify({ version, templates }, null, 2)}\n`);
      saved = revision;
      told = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== told)
        logger.error(
          { err: error, path },
          `Learnt path templates cannot be saved to ${path}: ${message}. Trying again; a restart until then learns them anew.`,
        );
      told = message;
    }
  };
  // One after the other: two would write the same file.
  const saveNext = (): Promise<void> => (saving = saving.then(save));
  const timer = setInterval(() => void saveNext(), options.saveEveryMs ?? 10_000);
  timer.unref();
  return {
    learner,
    close: () => {
      clearInterval(timer);
      return saveNext();
    },
  };
}

function nameOf({ service, under }: LearntTemplate): string {
  return `${service} ${under}`;
}

async function read(path: string, logger: Logger): Promise<LearntTemplate[]> {
  try {
    const file: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (isTemplateFile(file)) return file.templates;
    throw new Error(`it is not { "version": ${version}, "templates": [{ service, under, words }] }`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      logger.error(
        { err: error, path },
        `The learnt path templates in ${path} cannot be used: ${(error as Error).message}. They are learnt anew.`,
      );
    return [];
  }
}

function isTemplateFile(file: unknown): file is { templates: LearntTemplate[] } {
  if (typeof file !== 'object' || file === null) return false;
  const { version: found, templates } = file as Record<string, unknown>;
  return found === version && Array.isArray(templates) && templates.every(isTemplate);
}

function isTemplate(template: unknown): template is LearntTemplate {
  if (typeof template !== 'object' || template === null) return false;
  const { service, under, words } = template as Record<string, unknown>;
  return (
    typeof service === 'string' &&
    typeof under === 'string' &&
    (under === '' || under.startsWith('/')) &&
    Array.isArray(words) &&
    words.every((word) => typeof word === 'string')
  );
}

/** As a whole or not at all, also when the machine stops. */
async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const next = `${path}.new`;
  const file = await open(next, 'w');
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(next, path);
}
