import {
  ENDPOINT_WINDOW_MS,
  MinuteHold,
  PreAggregator,
  type Emission,
  type EndpointDetection,
  type EndpointState,
} from '../src/index.ts';
import type { Alert, ApiCall } from '@tripline/model';

/** What the receiving half of the re-key step does, without its transport. */
export class EndpointRun {
  readonly alerts: Alert[] = [];
  readonly states = new Map<string, EndpointState>();
  readonly hold: MinuteHold;
  readonly #detection: EndpointDetection;

  constructor(detection: EndpointDetection, sources: number) {
    this.#detection = detection;
    this.hold = new MinuteHold(sources);
  }

  take(emission: Emission): void {
    for (const { step, minutes } of this.hold.take(JSON.parse(JSON.stringify(emission)) as Emission)) {
      this.close(step * ENDPOINT_WINDOW_MS);
      for (const whole of minutes) {
        const key = this.#detection.stateKey(whole);
        let state = this.states.get(key);
        if (!state && !this.#detection.isOfNote(whole)) continue;
        if (!state) this.states.set(key, (state = this.#detection.create(whole)));
        this.alerts.push(...this.#detection.judge(state, whole, step));
      }
    }
  }

  close(nowMs: number): void {
    const due = [...this.states]
      .map(([key, state]) => ({ key, state, closesAt: this.#detection.closesAt(state) ?? Infinity }))
      .filter(({ closesAt }) => closesAt <= nowMs)
      .sort((a, b) => a.closesAt - b.closesAt || (a.key < b.key ? -1 : 1));
    for (const { state } of due) this.alerts.push(...this.#detection.close(state, nowMs));
  }
}

/** All revisions in the order of publishing, from one partition, with everything closed at the end of the input. */
export function runEndpoints(detection: EndpointDetection, calls: Iterable<ApiCall>): EndpointRun {
  const run = new EndpointRun(detection, 1);
  const source = new PreAggregator(0);
  const send = (): void => {
    for (const emission of source.unsent) run.take(emission);
    source.sent();
  };
  for (const call of calls) {
    source.add(call);
    if (source.unsent.length > 0) send();
  }
  source.rest();
  send();
  run.close(Number.MAX_SAFE_INTEGER);
  return run;
}
