import type { LimitFunction } from "p-limit";
import type { Decision } from "./audit/decision.ts";
import type { DecisionLog } from "./audit/decision-log.ts";
import type { Telemetry } from "./audit/events.ts";
import type { ConnectLimits } from "./auth/connect-limits.ts";
import type { EndedSessions } from "./auth/ended-sessions.ts";
import type { GatewayAuthenticator } from "./auth/gateway-auth.ts";
import type { Gateways } from "./auth/gateways.ts";
import type { LimitSettings, RateLimits } from "./auth/limits.ts";
import type { MessageLimits, MessagesInFlight } from "./auth/message-limits.ts";
import type { Origins } from "./auth/origins.ts";
import type { Tokens } from "./auth/tokens.ts";
import type { Activity } from "./connections/activity.ts";
import type { Delivery } from "./delivery/delivery.ts";
import type { ErrorReporter } from "./error-reporter.ts";
import type { ConnectionProbes } from "./events/connection-probes.ts";
import type { OrphanedConnections } from "./events/orphaned-connections.ts";
import type { PermissionCatalog } from "./permissions/define.ts";
import type { ChangedSubjects } from "./revocation/changed-subjects.ts";
import type { RevocationQueue } from "./revocation/queue.ts";
import type { UnfinishedCloses } from "./revocation/unfinished-closes.ts";
import type { Sends } from "./sending/sends.ts";
import type { Store } from "./storage/store.ts";
import type { Channels } from "./views/channels.ts";
import type { MountedView } from "./views/mount.ts";

/** The user of a request, as the session of the app identifies it. */
export interface AuthenticatedUser {
  /** The user id in the app: 1 to 255 characters without control characters. */
  readonly userId: string;
  /**
   * The session id in the app. With it, `access.endSession()` closes the connections of the
   * session.
   */
  readonly sessionId?: string | undefined;
}

/**
 * Returns the user of a request, or null if the request belongs to no session.
 *
 * It is called for each token request. It is also called for each `$connect` with a token, unless
 * `token.binding` is "token".
 */
export type Authenticate = (request: Request) => AuthenticatedUser | null | Promise<AuthenticatedUser | null>;

/** What the code of the app declares. */
export interface Definitions {
  readonly permissions: PermissionCatalog;
  readonly channels: Channels;
  /** Mounted views by path. */
  readonly views: ReadonlyMap<string, MountedView>;
}

/** Where a process reports decisions, errors and measurements. */
export interface Reports {
  readonly decisionLog: DecisionLog;
  /** Stores a decision and calls `onDecision`. Returns the reference of the decision. */
  readonly recordDecision: (decision: Decision) => string;
  /** Receives events and sends as they happen. `undefined` if telemetry is off. */
  readonly telemetry: Telemetry | undefined;
  /**
   * Called with each error that is not returned to a caller, and the operation in which it
   * occurred.
   */
  readonly onError: (error: unknown, where: string) => void;
  /** Groups equal errors before it calls `onError` of the app. */
  readonly errors: ErrorReporter;
}

/** The services that every part of the core uses. */
export interface CoreServices {
  readonly store: Store;
  readonly definitions: Definitions;
  readonly reports: Reports;
  readonly changedSubjects: ChangedSubjects;
}

/** The services that send messages to connections and close them. */
export interface DeliveryServices extends CoreServices {
  readonly gateways: Gateways;
  readonly delivery: Delivery;
  readonly unfinishedCloses: UnfinishedCloses;
}

/** The services of `sending/`. */
export interface SendingServices extends DeliveryServices {
  readonly sends: Sends;
}

/** The services of `revocation/`. */
export interface RevocationServices extends DeliveryServices {
  readonly revocations: RevocationQueue;
}

/** The services of `admin/`. */
export interface AdminServices extends CoreServices {
  readonly gateways: Gateways;
  readonly delivery: Delivery;
  readonly revocations: RevocationQueue;
  readonly limits: LimitServices;
}

/** The services of `events/`. */
export interface EventServices extends CoreServices {
  readonly auth: AuthServices;
  readonly limits: LimitServices;
  readonly connections: ConnectionServices;
  readonly sending: SendingServices;
}

/** The services that identify gateways, pages and users. */
export interface AuthServices {
  readonly gateways: Gateways;
  readonly gatewayAuthenticator: GatewayAuthenticator;
  readonly origins: Origins;
  readonly tokens: Tokens;
  readonly endedSessions: EndedSessions;
  readonly authenticate: Authenticate;
  /** With "token", `$connect` relies on the token alone, because cookies cannot reach it. */
  readonly tokenBinding: "session" | "token";
  /** Number of proxies in front of API Gateway. Their X-Forwarded-For entries are trusted. */
  readonly trustProxy: number;
}

/** The services that count events and compare them with limits. */
export interface LimitServices {
  readonly settings: LimitSettings;
  readonly rateLimits: RateLimits;
  readonly connectLimits: ConnectLimits;
  readonly messageLimits: MessageLimits;
  readonly messagesInFlight: MessagesInFlight;
}

/** The services that keep the rows of connections correct. */
export interface ConnectionServices {
  readonly activity: Activity;
  readonly probes: ConnectionProbes;
  readonly orphaned: OrphanedConnections;
  /** Limits the number of join transactions that run at the same time. */
  readonly joinTurns: LimitFunction;
}
