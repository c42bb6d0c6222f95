import { createTemplateLearner, type LearntTemplate, type TemplateLearner } from '@tripline/kong';
import type { Logger } from '@tripline/runtime';
import { readSavedFile, saveRegularly } from './saved-file.ts';

export interface TemplateFileOptions {
  /** JSON; this process's own. */
  path: string;
  logger: Logger;
  /** How often changes are saved, in ms. Default 10,000. */
  saveEveryMs?: number;
}

/** A learner of path templates that keeps them over a restart. */
export interface TemplateFile {
  learner: TemplateLearner;
  /** Saves the latest changes, and ends. Never rejects. */
  close: () => Promise<void>;
}

const version = 1;

/**
 * Opens the file of learnt path templates. A missing file is a fresh start, and so is one that cannot be used, which is
 * logged. A kill loses the templates since the last save, which are learnt again.
 */
export async function openTemplateFile(options: TemplateFileOptions): Promise<TemplateFile> {
  const { path, logger } = options;
  const file = { path, logger, what: 'learnt path templates' };
  const shape = `{ "version": ${version}, "templates": [{ service, under, words }] }`;
  const { templates: learnt } = (await readSavedFile(file, shape, isTemplateFile)) ?? { templates: [] };
  const learner = createTemplateLearner({ learnt });
  const known = new Set(learnt.map(nameOf));

  const text = (): string => {
    const templates = learner.learnt();
    for (const template of templates) {
      if (known.has(nameOf(template))) continue;
      known.add(nameOf(template));
      logger.info(template, `learnt that ${template.under}/{id} of ${template.service} is one endpoint`);
    }
    return `${JSON.stringify({ version, templates }, null, 2)}\n`;
  };
  const saving = saveRegularly(file, options.saveEveryMs ?? 10_000, () => learner.revision, text);
  return { learner, close: saving.close };
}

function nameOf({ service, under }: LearntTemplate): string {
  return `${service} ${under}`;
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
