import { Document, Scalar } from 'yaml';
import { customFieldsByLua } from './custom-fields.ts';
import { checkSettings, connectPluginId, pluginName, triplineTag, type ConnectSettings } from './plan.ts';

// Placeholders of the alphabet that the Lua expressions check: decK's templates are put in afterwards.
const placeholders = { token: 'TOKEN-PLACEHOLDER', fingerprintKey: 'KEY-PLACEHOLDER' };

/**
 * The plugin that `planConnect` would make, as a decK file. Token and key are not in it: decK fills them in from the environment
 * variables `DECK_TRIPLINE_TOKEN` and `DECK_TRIPLINE_FINGERPRINT_KEY`. Throws an `Error` if the settings are unusable.
 */
export function connectDeckYaml(settings: ConnectSettings): string {
  checkSettings(settings);
  const plugin = {
    name: pluginName,
    id: connectPluginId(settings.workspace),
    enabled: true,
    tags: [triplineTag],
    config: {
      host: quoted(settings.collectorHost),
      port: settings.collectorPort,
      tls: settings.tls,
      ...(settings.tlsSni === undefined ? {} : { tls_sni: quoted(settings.tlsSni) }),
      ...(settings.verify ? { ssl_verify: true } : {}),
      ...customFields(settings),
    },
  };
  const file = new Document({
    _format_version: '3.0',
    ...(settings.workspace === undefined ? {} : { _workspace: quoted(settings.workspace) }),
    plugins: [plugin],
  });
  file.contents!.commentBefore = [
    ' tcp-log plugin for Tripline. Add it to your decK state, or: deck gateway apply <this file>',
    ' Never "deck gateway sync" with this file alone: sync removes everything that it does not name.',
    ...(settings.token === undefined ? [] : [' Needs the environment variable DECK_TRIPLINE_TOKEN']),
    ...(settings.fingerprintKey === undefined
      ? []
      : [' Needs the environment variable DECK_TRIPLINE_FINGERPRINT_KEY']),
  ].join('\n');
  // Long lines stay whole: a Lua expression is one line.
  return file.toString({ lineWidth: 0 });
}

function customFields({ token, fingerprintKey, claim }: ConnectSettings): object {
  const fields = customFieldsByLua({
    ...(token === undefined ? {} : { token: placeholders.token }),
    ...(fingerprintKey === undefined ? {} : { fingerprintKey: placeholders.fingerprintKey }),
    ...(claim === undefined ? {} : { claim }),
  });
  if (!fields) return {};
  const filled = Object.entries(fields).map(([name, lua]) => [name, block(withTemplates(lua))] as const);
  return { custom_fields_by_lua: Object.fromEntries(filled) };
}

function withTemplates(lua: string): string {
  return lua
    .replace(placeholders.token, '${{ env "DECK_TRIPLINE_TOKEN" }}')
    .replace(placeholders.fingerprintKey, '${{ env "DECK_TRIPLINE_FINGERPRINT_KEY" }}');
}

function quoted(text: string): Scalar {
  const scalar = new Scalar(text);
  scalar.type = Scalar.QUOTE_DOUBLE;
  return scalar;
}

/** A block: quotes of the expression and of decK's template stay as they are. */
function block(text: string): Scalar {
  const scalar = new Scalar(text);
  scalar.type = Scalar.BLOCK_LITERAL;
  return scalar;
}
