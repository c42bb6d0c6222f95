import { join } from 'node:path';
import {
  inheritedSockets,
  openGeo,
  openServedPathsFile,
  openTemplateFile,
  openVerifyingEndpointsFile,
  startCollector,
  type Collector,
} from '@tripline/app-collector';
import type { NormaliserOptions } from '@tripline/kong';
import { resolvePath, type Config, type LoadedConfig } from '@tripline/runtime';
import { readNamed } from '../backends.ts';
import { createConfiguredNormaliser, createConfiguredSanitizer } from '../configured.ts';
import type { Process } from './process.ts';

export async function addCollector(process: Process): Promise<Collector> {
  const { loaded, config, dataDir, bus, context } = process;
  const sanitizer = createConfiguredSanitizer(loaded, dataDir);
  const { cityFile, asnFile } = config.geo;
  const locate = await openGeo({
    cityFile: cityFile && resolvePath(loaded, cityFile),
    asnFile: asnFile && resolvePath(loaded, asnFile),
  });
  const learnt = await openLearntFiles(process);
  const { tls, spool } = config.collector;
  return process.add(
    await startCollector({
      ...context('collector'),
      bus,
      sanitizer,
      normalise: createConfiguredNormaliser(config, { sanitizer, ...learnt, ...(locate ? { locate } : {}) }),
      settings: config.collector,
      spoolDir: spool.dir === undefined ? join(dataDir, 'spool') : resolvePath(loaded, spool.dir),
      sockets: inheritedSockets(globalThis.process.env, globalThis.process.pid),
      ...(tls ? { certificates: readCertificates(loaded, tls) } : {}),
    }),
  );
}

/** What earlier runs learnt about paths and endpoints; saved again at the end. */
async function openLearntFiles({
  dataDir,
  logger,
  shutdown,
}: Process): Promise<Pick<NormaliserOptions, 'templates' | 'served' | 'verifying'>> {
  const file = (name: string) => ({ path: join(dataDir, name), logger: logger.child({ role: 'collector' }) });
  const templates = await openTemplateFile(file('templates.json'));
  shutdown.add('templates', () => templates.close());
  const servedPaths = await openServedPathsFile(file('served-paths.json'));
  shutdown.add('served paths', () => servedPaths.close());
  const endpoints = await openVerifyingEndpointsFile(file('verifying-endpoints.json'));
  shutdown.add('verifying endpoints', () => endpoints.close());
  return { templates: templates.learner, served: servedPaths.served, verifying: endpoints.verifying };
}

/** The certificates of the collector, the default one first. */
function readCertificates(
  loaded: LoadedConfig,
  tls: NonNullable<Config['collector']['tls']>,
): { cert: Buffer; key: Buffer }[] {
  const { certFile, keyFile, certificates = [] } = tls;
  const all = certificates.map((files, index) => ({ ...files, at: `collector.tls.certificates.${index}` }));
  if (certFile !== undefined && keyFile !== undefined)
    all.unshift({ certFile, keyFile, at: 'collector.tls' });
  return all.map((files) => ({
    cert: readNamed(loaded, `${files.at}.certFile`, files.certFile),
    key: readNamed(loaded, `${files.at}.keyFile`, files.keyFile),
  }));
}
