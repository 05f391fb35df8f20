import type { LimitFunction } from "p-limit";
import type { Audit } from "../access/audit.ts";
import type { Callers } from "../access/callers.ts";
import type { ChangeLog } from "../access/change-log.ts";
import type { ChangedSubjects } from "../access/changed-subjects.ts";
import type { Channels } from "../access/channels.ts";
import type { ConnectLimits } from "../access/connect-limits.ts";
import type { DecisionLog } from "../access/decision-log.ts";
import type { Decision } from "../access/decisions.ts";
import type { DeclaredRules } from "../access/declared-rules.ts";
import type { EndedSessions } from "../access/ended-sessions.ts";
import type { Evictions } from "../access/evictions.ts";
import type { Grants } from "../access/grants.ts";
import type { LimitSettings } from "../access/limit-settings.ts";
import type { MessageLimits } from "../access/message-limits.ts";
import type { MessagesInFlight } from "../access/messages-in-flight.ts";
import type { Origins } from "../access/origins.ts";
import type { PermissionRows } from "../access/permission-rows.ts";
import type { PermissionCatalog } from "../access/permissions.ts";
import type { RateLimits } from "../access/rate-limits.ts";
import type { Rights } from "../access/rights.ts";
import type { Tokens } from "../access/tokens.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { SendCapacity } from "../delivery/send-capacity.ts";
import type { SendOrder } from "../delivery/send-order.ts";
import type { ErrorReporter } from "../error-reporter.ts";
import type { Gateways } from "../gateways/gateways.ts";
import type { Activity } from "../sessions/activity.ts";
import type { Entries } from "../sessions/entries.ts";
import type { Memberships } from "../sessions/memberships.ts";
import type { Sessions } from "../sessions/sessions.ts";
import type { UserConnections } from "../sessions/user-connections.ts";
import type { Database } from "../storage/database.ts";
import type { MountedView } from "./mount-views.ts";
import type { OrphanedConnections } from "./orphaned-connections.ts";
import type { ConnectionProbes } from "./probe-connections.ts";
import type { Telemetry } from "./telemetry.ts";
import type { UnfinishedCloses } from "./unfinished-closes.ts";

/** The user of a request, as the app's own session has it. */
export interface AuthenticatedUser {
  /** The app's own id of the user: 1 to 255 characters without control characters. */
  readonly userId: string;
  /** The app's id of the session, so that its connections can be closed with it. */
  readonly sessionId?: string | undefined;
}

/** Returns the user of a request, or null if the request belongs to no session. */
export type Authenticate = (request: Request) => AuthenticatedUser | null | Promise<AuthenticatedUser | null>;

/** Everything the stories bring together. Wired once, in `sallyport.ts`. */
export interface Rooms {
  readonly database: Database;
  readonly callers: Callers;
  readonly origins: Origins;
  readonly limits: LimitSettings;
  readonly rateLimits: RateLimits;
  readonly connectLimits: ConnectLimits;
  readonly messageLimits: MessageLimits;
  readonly messagesInFlight: MessagesInFlight;
  readonly tokens: Tokens;
  readonly endedSessions: EndedSessions;
  readonly permissions: PermissionCatalog;
  readonly permissionRows: PermissionRows;
  readonly rights: Rights;
  readonly grants: Grants;
  readonly audit: Audit;
  readonly declaredRules: DeclaredRules;
  readonly decisionLog: DecisionLog;
  readonly evictions: Evictions;
  readonly changeLog: ChangeLog;
  readonly changedSubjects: ChangedSubjects;
  readonly gateways: Gateways;
  readonly sessions: Sessions;
  readonly entries: Entries;
  readonly userConnections: UserConnections;
  readonly connectionProbes: ConnectionProbes;
  readonly orphanedConnections: OrphanedConnections;
  readonly unfinishedCloses: UnfinishedCloses;
  readonly activity: Activity;
  readonly memberships: Memberships;
  /** Runs the transaction of a join when it is its turn. */
  readonly joinTurns: LimitFunction;
  readonly delivery: Delivery;
  readonly sendOrder: SendOrder;
  readonly sendCapacity: SendCapacity;
  /** Sends under way, which closing waits for. */
  readonly sends: Set<Promise<unknown>>;
  readonly channels: Channels;
  readonly views: ReadonlyMap<string, MountedView>;
  readonly authenticate: Authenticate;
  /** `token`: hosts whose cookies do not reach `$connect` rely on the token alone. */
  readonly tokenBinding: "session" | "token";
  readonly tokenExpirySeconds: number;
  /** The number of proxies in front of API Gateway whose X-Forwarded-For entries are trusted. */
  readonly trustProxy: number;
  /** Starts to look for what time and other processes change. Resolves when it is known what has changed so far. */
  readonly watch: () => Promise<void>;
  /** Takes a decision in and tells `onDecision` of it. @returns the reference that leads to it */
  readonly keep: (decision: Decision) => string;
  /** Told of events and sends as they happen, where somebody wants to know. */
  readonly telemetry: Telemetry | undefined;
  /** Told of what goes wrong off the path of an answer. */
  readonly onError: (error: unknown, where: string) => void;
  /** Counts equal errors before they reach the app's `onError`. */
  readonly errors: ErrorReporter;
}
