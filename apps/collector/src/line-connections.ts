import type { Socket } from 'node:net';
import { FrameSplitter, type Frame } from '@tripline/kong';
import { Gauge, type Config, type RoleContext } from '@tripline/runtime';
import { addressOf } from './admission.ts';
import type { Intake } from './intake.ts';
import { UnfinishedLines } from './unfinished-lines.ts';

/** Reads lines from tcp-log connections. Never writes a byte back. */
export class LineConnections {
  readonly #settings: Config['collector'];
  readonly #intake: Intake;
  readonly #unfinished: UnfinishedLines;
  readonly #splitters = new Map<Socket, FrameSplitter>();

  constructor(settings: Config['collector'], intake: Intake, { metrics }: Pick<RoleContext, 'metrics'>) {
    this.#settings = settings;
    this.#intake = intake;
    const unfinished = new UnfinishedLines(settings.maxUnfinishedBytes);
    this.#unfinished = unfinished;
    new Gauge({
      name: 'tripline_collector_unfinished_bytes',
      help: 'Memory of lines that have begun and not ended, of all connections (collector.maxUnfinishedBytes).',
      registers: [metrics],
      collect() {
        this.set(unfinished.bytes);
      },
    });
  }

  /** Reads a connection that was admitted, until it ends. */
  read(socket: Socket): void {
    const { maxLineBytes, frameTimeoutMs, idleTimeoutMs } = this.#settings;
    const { publisher, observer } = this.#intake;
    const address = addressOf(socket);
    const splitter = new FrameSplitter(maxLineBytes);
    const take = (frame: Frame): void => this.#intake.take(frame);
    this.#splitters.set(socket, splitter);
    let deadline: NodeJS.Timeout | undefined;
    socket.on('data', (chunk: Buffer) => {
      const receivedBefore = publisher.accounting.received;
      splitter.push(chunk, take);
      const lines = publisher.accounting.received - receivedBefore;
      if (lines > 0) observer.sent(address, lines);
      // The time of a line runs from its first byte to its end, and starts anew with the next line.
      if (lines > 0 || splitter.pendingBytes === 0) {
        clearTimeout(deadline);
        deadline = undefined;
      }
      if (splitter.pendingBytes > 0) {
        deadline ??= setTimeout(
          () => this.#rejectUnfinished(socket, 'unfinished', `not finished within ${frameTimeoutMs} ms`),
          frameTimeoutMs,
        );
      }
      this.#boundUnfinished(socket, splitter.heldBytes);
    });
    socket.setTimeout(idleTimeoutMs, () => socket.destroy());
    socket.on('end', () => splitter.end(take));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(deadline);
      splitter.end(take);
      this.#unfinished.update(socket, 0);
      this.#splitters.delete(socket);
    });
  }

  /** Half-closes every connection: Kong stops using it, and what it had already sent is still read. */
  end(): void {
    for (const socket of this.#splitters.keys()) socket.end();
  }

  destroy(): void {
    for (const socket of this.#splitters.keys()) socket.destroy();
  }

  #boundUnfinished(socket: Socket, heldBytes: number): void {
    const { maxUnfinishedBytes } = this.#settings;
    for (const largest of this.#unfinished.update(socket, heldBytes)) {
      const all = `all unfinished lines together exceed ${maxUnfinishedBytes} bytes`;
      const detail = `the largest when ${all} (collector.maxUnfinishedBytes)`;
      this.#rejectUnfinished(largest, 'unfinished-bytes', detail);
    }
  }

  /** Rejects an unfinished line and closes its connection, because the rest of that line would be read as a line of its own. */
  #rejectUnfinished(socket: Socket, reason: string, detail: string): void {
    this.#intake.publisher.reject(reason, detail, () => '');
    this.#splitters.get(socket)?.drop();
    socket.destroy();
  }
}
