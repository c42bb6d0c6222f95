import {
  decodeEmission,
  encodeEmission,
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
  readonly #sources: number;

  constructor(detection: EndpointDetection, sources: number) {
    this.#sources = sources;
    this.#detection = detection;
    this.hold = new MinuteHold(sources);
  }

  take(emission: Emission): void {
    for (const { step, minutes } of this.hold.take(decodeEmission(encodeEmission(emission), this.#sources))) {
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

/** Both halves with one partition: calls in, alerts in `run`. */
export class EndpointPipeline {
  readonly run: EndpointRun;
  readonly #source = new PreAggregator(0);

  constructor(detection: EndpointDetection) {
    this.run = new EndpointRun(detection, 1);
  }

  add(call: ApiCall): void {
    this.#source.add(call);
    if (this.#source.unsent.length > 0) this.#send();
  }

  /** Takes an alert that goes to its endpoint, which ends its own alert by itself. */
  report(alert: Alert): void {
    if (alert.status === 'open') this.#source.addFinding(alert);
  }

  /** The input ends, and with it every episode. */
  end(): void {
    this.#source.rest();
    this.#send();
    this.run.close(Number.MAX_SAFE_INTEGER);
  }

  #send(): void {
    for (const emission of this.#source.unsent) this.run.take(emission);
    this.#source.sent();
  }
}
