import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startCollector, type Accounting, type Certificate, type Collector } from '@tripline/app-collector';
import { createEmbeddedBus, type Bus } from '@tripline/bus';
import { createNormaliser } from '@tripline/kong';
import { configSchema, type Config } from '@tripline/runtime';
import { createSanitizer } from '@tripline/sanitize';
import { expect } from 'vitest';
import { recording, scratchDir, testContext } from './parts.ts';

export interface TestCollector {
  collector: Collector;
  bus: Bus;
  log: string[];
  spoolDir: string;
  accounting: () => Accounting;
  metrics: () => Promise<string>;
}

export const sanitizer = createSanitizer({ key: Buffer.alloc(32, 1) });

/** Makes the function that starts collectors in this process; what undoes it goes to `undo`. */
export function createStarter(undo: (() => unknown)[]) {
  return async (
    settings: Partial<Config['collector']> = {},
    options: {
      bus?: Bus;
      maxBytes?: number;
      tls?: Certificate;
      /** Further certificates, beside that of `tls`. */
      certificates?: Certificate[];
      token?: string;
      maxInFlightBytes?: number;
      spoolDir?: string;
    } = {},
  ): Promise<TestCollector> => {
    const scratch = scratchDir();
    undo.push(scratch.dispose);
    const { tls, certificates = [], token, maxInFlightBytes, maxBytes } = options;
    const spoolDir = options.spoolDir ?? join(scratch.path, 'spool');
    const bus =
      options.bus ??
      createEmbeddedBus({ path: join(scratch.path, 'bus'), ...(maxBytes ? { maxBytes, keepBytes: 0 } : {}) });
    undo.push(() => bus.close());
    const context = testContext();
    const { collector: defaults } = configSchema.parse({});
    const collector = await startCollector({
      ...context,
      bus,
      sanitizer,
      normalise: createNormaliser({ sanitizer, ...(token ? { token } : {}) }),
      settings: { ...defaults, host: '127.0.0.1', port: 0, ...settings },
      spoolDir,
      ...(tls ? { certificates: [tls, ...certificates] } : {}),
      ...(maxInFlightBytes ? { maxInFlightBytes } : {}),
    });
    undo.push(() => collector.stop());
    return {
      collector,
      bus,
      log: context.log,
      spoolDir,
      accounting: collector.accounting,
      metrics: () => context.metrics.metrics(),
    };
  };
}

function sum(counts: Map<string, number>): number {
  return [...counts.values()].reduce((all, one) => all + one, 0);
}

/** Every line that was read is published, rejected, dropped, returned, on disk or under way. */
export function expectBalanced(accounting: Accounting): void {
  const { received, restored, published, rejected, streamSessions, dropped, returned, spooled, inFlight } =
    accounting;
  expect(received + restored).toBe(
    published + sum(rejected) + streamSessions + sum(dropped) + returned + spooled + inFlight,
  );
}

export const plainLine = recording('normal')[0]!;

/** A line whose request id is `n`. */
export const numberedLine = (n: number): Buffer =>
  Buffer.from(
    plainLine.toString().replace(/"id":"[0-9a-f]{32}"/, `"id":"${n.toString(16).padStart(32, '0')}"`),
  );

/** The number in the id of a numbered line's API call. */
export const numberOf = ({ id }: { id: string }): number => Number.parseInt(id.slice(0, 32), 16);

/** One of the certificates in `test/fixtures/certificates`: `logs` for one name, `wildcard` for `*.eu.example.test`. */
export function certificate(name: 'logs' | 'wildcard'): Certificate {
  const pem = (part: string): Buffer => readFileSync(`test/fixtures/certificates/${name}-${part}.pem`);
  return { cert: pem('cert'), key: pem('key') };
}

export function testCertificate(): { cert: Buffer; key: Buffer } {
  const pem = (name: string): Buffer =>
    readFileSync(
      fileURLToPath(new URL(`../../packages/kong-stand-in/fixtures/tls/${name}`, import.meta.url)),
    );
  return { cert: pem('cert.pem'), key: pem('key.pem') };
}
