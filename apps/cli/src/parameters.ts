import {
  judgeParameters,
  learnParameters,
  newEndpointProfile,
  seeParameters,
  type EndpointProfile,
} from '@tripline/detection';
import { LineProblems, linesOf, print } from './lines.ts';
import { readOptions } from './options.ts';

/** Endpoints remembered; the least recently used goes. */
const maxEndpoints = 10_000;

interface ParameterLine {
  endpoint: string;
  parameters: Record<string, unknown>;
  score: boolean;
}

/**
 * `tripline parameters FILE.ndjson`: learns the parameters of each line, and judges those of lines with `"score": true` by what
 * was learnt before, without learning from them. A line that cannot be read is told and makes the exit status 1.
 */
export async function parameters(args: string[]): Promise<number> {
  const { positionals } = readOptions(args, {}, { names: ['an NDJSON FILE of calls, or -'] });
  const file = positionals[0]!;
  const problems = new LineProblems(file);
  const profiles = new Map<string, EndpointProfile>();
  let forgotten = 0;
  for await (const lines of linesOf(file)) {
    let output = '';
    for (const { number, text } of lines) {
      const call = readLine(text);
      if (typeof call === 'string') {
        problems.add(number, call);
        continue;
      }
      const { endpoint } = call;
      let profile = profiles.get(endpoint);
      if (profile) profiles.delete(endpoint);
      else if (!call.score && profiles.size >= maxEndpoints) {
        const [oldest] = profiles.keys();
        profiles.delete(oldest!);
        forgotten++;
      }
      profile ??= newEndpointProfile();
      if (call.score) {
        const { score, alert, reasons } = judgeParameters(profile, seeParameters(call.parameters));
        output += `${JSON.stringify({ endpoint, score, alert, reasons })}\n`;
        if (profile.calls > 0) profiles.set(endpoint, profile);
      } else {
        learnParameters(profile, seeParameters(call.parameters));
        profiles.set(endpoint, profile);
      }
    }
    await print(output);
  }
  if (forgotten > 0) {
    process.stderr.write(
      `${file}: more than ${maxEndpoints} endpoints; ${forgotten} that were not used for longest were forgotten\n`,
    );
  }
  return problems.finish();
}

/** The line's call, or what is wrong with it. */
function readLine(text: string | null): ParameterLine | string {
  if (text === null) return 'the line is longer than 1 MB';
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch (error) {
    return `not JSON: ${(error as Error).message}`;
  }
  if (!isObject(line)) return 'not a JSON object';
  const { endpoint, parameters = {}, score = false } = line;
  if (typeof endpoint !== 'string') return 'endpoint is missing or no text';
  if (!isObject(parameters)) return 'parameters is no object of names and values';
  if (typeof score !== 'boolean') return 'score is neither true nor false';
  return { endpoint, parameters, score };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
