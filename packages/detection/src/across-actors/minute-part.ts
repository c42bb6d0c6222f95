/** What a detector keeps of an endpoint's minute, as one partition saw it or several together, and how it judges the whole. */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- filled by the detectors that look across actors
export interface MinutePartKind {}
