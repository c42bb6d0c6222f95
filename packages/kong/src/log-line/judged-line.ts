import type { ShownCredentials } from './credentials.ts';
import type { KongAnswer } from './kong-answer.ts';
import type { KongLogLine } from './log-line.ts';

/** The facts of a line, besides the call itself, by which it is judged who acts and what came of it. */
export interface JudgedLine {
  answer: KongAnswer & Pick<KongLogLine, 'location'>;
  routePaths: unknown;
  shown: ShownCredentials;
  /** The consumer that Kong authenticated, and what to show for it; undefined for the one that stands for the anonymous. */
  consumer: { id: string; name: string } | undefined;
  /** Sanitised id of what Kong authenticated, with or without a consumer. */
  authenticatedEntity: string | undefined;
  /** Token of the caller that the operator declared for the service. */
  declared: string | undefined;
  /** Kong answered without asking an upstream. */
  byKong: boolean;
  isPreflight: boolean;
  /** The path as it was sent, without query, not sanitised. */
  rawPath: string;
  /** The member `request` of the line. */
  request: () => unknown;
}
