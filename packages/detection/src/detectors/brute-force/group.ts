import { severityOf, type Alert } from '@tripline/model';
import { endpointId, type EndpointName } from '../../across-actors/endpoint-id.ts';
import type {
  AlertOutput,
  EndpointJudge,
  JudgedMinute,
  MinutePartKind,
} from '../../across-actors/minute-part.ts';
import {
  beginGrowing,
  decodeGrowing,
  encodeGrowing,
  isNews,
  markPublished,
  type Growing,
} from '../../alerts/episode.ts';
import { alertSources } from '../../alerts/tally.ts';
import { HOUR_MS, REVISION_SHARE, SAMPLES_MOST } from '../../baseline/limits.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import {
  addFinding,
  asFinding,
  mergeFindings,
  readFindings,
  writeFindings,
  type Finding,
  type Findings,
} from './group-findings.ts';

/** Addresses that one alert tells apart; further ones are left out. */
const ADDRESSES_MOST = 64;
/** Accounts that one alert lists, of those tried and of those opened. */
const ACCOUNTS_MOST = 200;
/** An alert is over after so long without a finding: who tries a list comes back the next day. */
const QUIET_MS = 26 * HOUR_MS;

/** Findings about single addresses of one endpoint: one alert about all of them. */
export const bruteForceGroup: MinutePartKind<Findings, GroupState> = {
  id: 2,
  partVersion: 1,
  stateVersion: 1,
  newPart: () => new Map(),
  createCounter: () => ({ add: (findings) => findings }),
  addFinding: (findings, alert) => addFinding(findings, asFinding(alert)),
  merge: mergeFindings,
  encode: (findings, writer) => writeFindings(writer, findings),
  decode: readFindings,
  createJudge: (settingsOf) => new GroupJudge(settingsOf('brute-force').enabled),
};

export interface GroupState {
  episode: GroupEpisode | null;
}

interface GroupEpisode extends Growing {
  /** The latest finding about each address, by the address, in order of their coming; at most ADDRESSES_MOST. */
  findings: Map<string, Finding>;
}

class GroupJudge implements EndpointJudge<Findings, GroupState> {
  readonly enabled: boolean;

  constructor(enabled: boolean) {
    this.enabled = enabled;
  }

  isOfNote(findings: Findings): boolean {
    return findings.size > 0;
  }

  newState(): GroupState {
    return { episode: null };
  }

  /** Takes the findings of the minute into the episode, which the first of them begins. */
  judge(state: GroupState, findings: Findings | undefined, minute: JudgedMinute, out: AlertOutput): void {
    if (!findings) return;
    const nowMs = minute.judgedAt;
    for (const finding of inOrder(findings)) {
      state.episode ??= newEpisode(finding, nowMs);
      takeIn(state.episode, finding);
    }
    const { episode } = state;
    if (!episode) return;
    episode.count = 0;
    for (const { count } of episode.findings.values()) episode.count += count;
    if (isNews(episode, worstOf(episode).score, nowMs)) out.alert(groupAlert(episode, minute, 'open', nowMs));
  }

  close(state: GroupState, of: EndpointName, nowMs: number, out: AlertOutput): void {
    const { episode } = state;
    if (!episode || nowMs < endsAt(episode)) return;
    out.alert(groupAlert(episode, of, 'closed', nowMs));
    state.episode = null;
  }

  closesAt({ episode }: GroupState): number | undefined {
    return episode ? endsAt(episode) : undefined;
  }

  encode({ episode }: GroupState, writer: ByteWriter): void {
    writer.boolean(episode !== null);
    if (!episode) return;
    encodeGrowing(episode, writer);
    writer.uint(episode.findings.size);
    for (const finding of episode.findings.values()) writer.text(JSON.stringify(finding));
  }

  decode(reader: ByteReader): GroupState {
    if (!reader.boolean()) return { episode: null };
    const growing = decodeGrowing(reader);
    const findings = new Map<string, Finding>();
    for (let left = reader.count(); left > 0; left--) {
      const finding = asFinding(JSON.parse(reader.text()));
      findings.set(finding.actor.id, finding);
    }
    return { episode: { ...growing, findings } };
  }
}

/** By the time at which they began, so that the order does not depend on how the parts of the minute arrived. */
function inOrder(findings: Findings): Finding[] {
  return [...findings.values()].sort((a, b) => a.startedAt - b.startedAt || (a.id < b.id ? -1 : 1));
}

function newEpisode({ startedAt, lastSeenAt }: Finding, nowMs: number): GroupEpisode {
  return { ...beginGrowing(startedAt, nowMs, lastSeenAt, 0), findings: new Map() };
}

function takeIn(episode: GroupEpisode, finding: Finding): void {
  const { findings } = episode;
  const known = findings.get(finding.actor.id);
  if (!known && findings.size >= ADDRESSES_MOST) return;
  if (known && known.id === finding.id && known.revision >= finding.revision) return;
  findings.set(finding.actor.id, finding);
  episode.startedAt = Math.min(episode.startedAt, finding.startedAt);
  episode.lastSeenAt = Math.max(episode.lastSeenAt, finding.lastSeenAt);
}

/**
 * Later than the alert about each address alone would end, whose last calls are not handed over: so that none of them comes again
 * under the same id.
 */
function endsAt({ startedAt, lastSeenAt }: GroupEpisode): number {
  return lastSeenAt + QUIET_MS + REVISION_SHARE * (lastSeenAt - startedAt);
}

function worstOf({ findings }: GroupEpisode): Finding {
  return [...findings.values()].reduce((worst, one) => (one.score > worst.score ? one : worst));
}

/** About the address while it is the only one, else about the endpoint; always under the id of the first finding. */
function groupAlert(episode: GroupEpisode, of: EndpointName, status: Alert['status'], nowMs: number): Alert {
  const findings = [...episode.findings.values()];
  const [first] = findings as [Finding];
  const worst = worstOf(episode);
  markPublished(episode, worst.score, nowMs);
  const common = {
    id: first.id,
    revision: episode.revision,
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
  };
  if (findings.length === 1) return { ...first, ...common };
  const id = endpointId(of);
  const opened = accountsOf(findings, 'opened');
  const got = opened.length > 0 ? ` ${opened.length} of the accounts they tried were then opened.` : '';
  return {
    ...worst,
    ...common,
    severity: severityOf(worst.score),
    actor: { kind: 'endpoint', id, name: id },
    route: findings.every(({ route }) => route === worst.route) ? worst.route : null,
    summary: `${id}: ${findings.length} addresses try credentials. The worst of them: ${worst.summary}${got}`,
    sources: alertSources(findings.flatMap(({ sources }) => sources)),
    evidence: {
      ...worst.evidence,
      addresses: findings.length,
      accounts: accountsOf(findings, 'accounts'),
      opened,
    },
    sampleCallIds: [...new Set(findings.flatMap(({ sampleCallIds }) => sampleCallIds.slice(0, 5)))].slice(
      0,
      SAMPLES_MOST,
    ),
  };
}

function accountsOf(findings: readonly Finding[], what: 'accounts' | 'opened'): string[] {
  return [...new Set(findings.flatMap(({ evidence }) => evidence[what]))].slice(0, ACCOUNTS_MOST);
}
