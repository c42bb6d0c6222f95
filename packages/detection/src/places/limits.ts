import { DAY_MS, HOUR_MS, MINUTE_MS } from '../baseline/limits.ts';

/** Every number about places and networks, with its reason. None is a knob. */

/** Databases are wrong by 3-16 km on fixed lines; within a third of a degree (37 km) it is the same spot. */
export const SPOT_TENTHS = 3;
/** Farther than any commuter train and any error on a fixed line. */
export const TRAVEL_LEAST_KM = 500;
/** At no sensitivity less: carriers show their exits at 200 km from their subscribers, and over a border. */
export const TRAVEL_NEVER_KM = 300;
/** Faster than any airliner with its way to the airport. */
export const TRAVEL_LEAST_KMH = 1_000;
/** Where a network shows its subscribers at many spots, each end is known to about 200 km. */
export const ROAMING_DOUBT_KM = 400;
/** Clocks of Kong nodes differ; nobody's speed is measured over less. */
export const LEAST_GAP_MS = MINUTE_MS;
/** The replay of a token in another country is judged within this, whether coordinates are known or not. */
export const REPLAY_MS = MINUTE_MS;
/** Half the globe at the least speed takes 20 h: older calls cannot contradict a new one. */
export const RECENT_MS = DAY_MS;

/** Located calls, and time since the first one, before anything is judged: what came until then is simply the actor's. */
export const JUDGED_CALLS = 10;
export const JUDGED_AGE_MS = DAY_MS;
/** Before the weaker signs are judged: travel within a country, interleaving without a new client, sharing. */
export const SETTLED_CALLS = 30;
export const SETTLED_ACTIVE_DAYS = 3;
/** A network or client that was used on so many days without an alert is the actor's own. */
export const KNOWN_DAYS = 4;
/** For credential sharing a network is new for a week, so that one more network a day adds up. */
export const YOUNG_DAYS = 7;
/** What the actor used within its first days is nobody's leak. */
export const FIRST_HOURS = 72;

/** Networks kept: the actor's own, and strange ones; and how long without a call. */
export const OWN_NETWORKS_MOST = 12;
export const STRANGE_NETWORKS_MOST = 32;
export const OWN_KEPT_DAYS = 60;
export const STRANGE_KEPT_DAYS = 7;
/** Client families kept, own and strange. Who has as many of its own shows a new one without meaning anything by it. */
export const FAMILIES_MOST = 8;
/** From so many own networks, or countries, on an actor is a fleet or an app with many users: no travel is judged. */
export const FLEET_NETWORKS = 8;
export const FLEET_COUNTRIES = 5;

/** Turns from one place to the other within an hour that make A-B-A-B; at no sensitivity fewer than there and back. */
export const TURNS = 3;
export const TURNS_LEAST = 2;
export const TURNS_MS = HOUR_MS;
/** Refused logins (`auth` is `failure`) of one network within the hour before it succeeded; one is a token that ran out. */
export const FAILURES = 3;
export const FAILURES_LEAST = 2;
export const FAILURES_MS = HOUR_MS;

/** What counts as at once. */
export const WINDOW_MS = 5 * MINUTE_MS;
export const WINDOW_NETWORKS_MOST = 16;
/** Networks and countries at once, of which so many are new, in so many windows of 24 h. */
export const AT_ONCE_NETWORKS = 5;
export const AT_ONCE_COUNTRIES = 3;
export const AT_ONCE_NEW = 3;
export const AT_ONCE_WINDOWS = 3;
/** New networks in a day: at least this, and three times the actor's usual plus this. */
export const STEP_NETWORKS = 8;
export const STEP_TIMES = 3;
/** A leaked key is used with many clients, or from many countries. */
export const STEP_FAMILIES = 3;
export const STEP_COUNTRIES = 3;
/** New networks that are all in use within 24 h, each in turn with another country's. A traveller leaves the last one behind. */
export const LEAK_NETWORKS = 4;
export const LEAK_COUNTRIES = 3;
/** Time zones by longitude: farther apart than this, tenths of a degree (3 h), and each in use in so many hours. */
export const ZONE_TENTHS = 450;
export const ZONES = 3;
export const ZONE_HOURS = 3;
export const ZONE_HOURS_LEAST = 2;
/** Windows with two client families from two addresses, over so many hours, with no pause longer than this. */
export const STACK_WINDOWS = 24;
export const STACK_HOURS = 6;
export const STACK_PAUSE_MS = 12 * HOUR_MS;
/** Two programs, or two browsers, side by side are a migration until they have been for this long. */
export const MIGRATION_MS = 36 * HOUR_MS;
/** An actor that usually brings so many new networks a day is an app with many users: only a step is judged. */
export const CROWD_NEWS = 3;
/** Learning rate of the usual number of new networks a day: a week. */
export const NEWS_MEMORY = 7;

/** A call elsewhere undoes so many at the one place: below 95 % there, nothing comes of it. */
export const ONE_PLACE_ELSEWHERE = 19;
/** Calls, each by another actor than the one before, at one place only, until the detectors of places rest and wake up. */
export const ONE_PLACE_MOST = 2_000;
export const ONE_PLACE_ENTERS = 1_500;
export const ONE_PLACE_LEAVES = 500;
/** Of 32 lots: about 15 actors. A few consumers may well sit at one place. */
export const ONE_PLACE_ACTORS = 12;

/** An episode ends when no strange network or client was seen for a day: a thief sleeps, too. */
export const QUIET_MS = DAY_MS;
/** What still goes on two weeks after its alert is taken over as the actor's own: an owner has had the time to act. */
export const ADOPT_MS = 14 * DAY_MS;
