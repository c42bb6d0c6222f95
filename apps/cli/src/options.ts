import { parseArgs, type ParseArgsConfig } from 'node:util';
import { detectionConfigSchema } from '@tripline/detection';
import { loadConfig, UserError, type LoadedConfig } from '@tripline/runtime';

/** Parsed options of a command, with the configuration that `--config` and the environment give. */
export function readOptions<Options extends NonNullable<ParseArgsConfig['options']>>(
  args: string[],
  options: Options,
  positionals: { names: string[] } = { names: [] },
): {
  values: ReturnType<typeof parseArgs<{ options: Options & { config: { type: 'string' } } }>>['values'];
  positionals: string[];
  loaded: LoadedConfig;
} {
  const all = { ...options, config: { type: 'string' } } as Options & { config: { type: 'string' } };
  const parsed = parseArgs({ args, options: all, allowPositionals: true });
  const { names } = positionals;
  if (parsed.positionals.length !== names.length) {
    throw new UserError(
      names.length === 0
        ? `"${parsed.positionals[0]}" is not understood here. See tripline help.`
        : `This needs ${names.join(' and ')}. See tripline help.`,
    );
  }
  const path = (parsed.values as { config?: string }).config;
  return {
    values: parsed.values,
    positionals: parsed.positionals,
    loaded: loadConfig({
      path,
      env: process.env,
      cwd: process.cwd(),
      detectors: detectionConfigSchema,
    }),
  };
}
