import pLimit from "p-limit";
import type { Decision } from "./audit/decision.ts";
import { DecisionLog } from "./audit/decision-log.ts";
import { printDenial, printLoggedError } from "./audit/log-lines.ts";
import { ConnectLimits } from "./auth/connect-limits.ts";
import { EndedSessions } from "./auth/ended-sessions.ts";
import { GatewayAuthenticator } from "./auth/gateway-auth.ts";
import type { Gateways } from "./auth/gateways.ts";
import { LimitSettings, RateLimits } from "./auth/limits.ts";
import { MessageLimits, MessagesInFlight } from "./auth/message-limits.ts";
import { Origins } from "./auth/origins.ts";
import { Tokens } from "./auth/tokens.ts";
import type { SallyportConfig } from "./config.ts";
import { Activity } from "./connections/activity.ts";
import type { ManagementApi } from "./delivery/management-api.ts";
import { printError } from "./error-output.ts";
import { ErrorReporter } from "./error-reporter.ts";
import { ConnectionProbes } from "./events/connection-probes.ts";
import { JOINS_AT_ONCE } from "./events/join.ts";
import { OrphanedConnections } from "./events/orphaned-connections.ts";
import { PermissionCatalog } from "./permissions/define.ts";
import type {
  AuthServices,
  ConnectionServices,
  Definitions,
  LimitServices,
  Reports,
  SendingServices,
} from "./services.ts";
import type { Store } from "./storage/store.ts";
import { Channels } from "./views/channels.ts";
import { mountViews } from "./views/mount.ts";

/** Creates the declared permissions and channels, and mounts the views. */
export function createDefinitions(config: SallyportConfig): Definitions {
  const permissions = new PermissionCatalog(config.permissions);
  const channels = new Channels(config.channels, permissions);
  return { permissions, channels, views: mountViews(config.views, permissions, channels) };
}

/** Identifies the views and channels of an app. All processes with the same ones have the same. */
export function ruleOwners({ views, channels }: Definitions): string {
  return [...views.keys(), ...channels.list().map(({ pattern }) => pattern)].sort().join("\n");
}

/**
 * Creates what decisions and errors are reported to.
 *
 * @param isServing whether this process serves events. The command line prints no denials, because
 *   a revocation there is intended
 */
export function createReports(
  { storage, telemetry, ...config }: SallyportConfig,
  isServing: () => boolean,
): Reports {
  const { store } = storage;
  const { logFormat } = config;
  const printErrors = (error: unknown, where: string, repeats: number) =>
    printLoggedError(error, where, repeats, logFormat);
  const printDenials = (decision: Decision) => {
    // `sallyport dev` prints the denials of its server itself.
    if (isServing() && process.env.SALLYPORT_DEV !== "1") printDenial(decision, logFormat);
  };
  const errors = new ErrorReporter(catchListenerErrors(config.onError ?? printErrors), (error) =>
    store.failure(error),
  );
  const onError = (error: unknown, where: string) => errors.report(error, where);
  const onDecision = catchListenerErrors(config.onDecision ?? printDenials, (error) =>
    onError(error, "onDecision"),
  );
  const decisionLog = new DecisionLog(store.decisions, config.decisionLog, { onDecision, onError });
  const recordDecision = (decision: Decision) => {
    const reference = decisionLog.add(decision);
    telemetry?.decided({ ...decision, reference });
    return reference;
  };
  return { decisionLog, recordDecision, telemetry, onError, errors };
}

/** Creates what counts events and compares them with limits. */
export function createLimits(config: SallyportConfig, store: Store, { views }: Definitions): LimitServices {
  const settings = new LimitSettings(config.limits, views);
  const rateLimits = new RateLimits(store.limits);
  return {
    settings,
    rateLimits,
    connectLimits: new ConnectLimits(store.limits, settings, rateLimits),
    messageLimits: new MessageLimits(settings),
    messagesInFlight: new MessagesInFlight(config.limits),
  };
}

/** Creates what identifies gateways, pages and users. */
export function createAuth(
  config: SallyportConfig,
  store: Store,
  gateways: Gateways,
  onError: Reports["onError"],
): AuthServices {
  return {
    gateways,
    gatewayAuthenticator: new GatewayAuthenticator(gateways, config.gatewayAuth),
    origins: new Origins(config.origins, config.allowMissingOrigin),
    tokens: new Tokens(store.tokens, config.token.expiresInSeconds),
    endedSessions: new EndedSessions(store.endedSessions, config.endedSessions, onError),
    authenticate: config.authenticate,
    tokenBinding: config.token.binding,
    trustProxy: config.trustProxy,
  };
}

/** Creates what keeps the rows of connections correct. */
export function createConnections(
  api: ManagementApi,
  { connections, memberships }: Store,
  { delivery, sends, reports: { onError } }: SendingServices,
): ConnectionServices {
  return {
    activity: new Activity({ connections, memberships }, onError),
    probes: new ConnectionProbes(api, connections),
    orphaned: new OrphanedConnections({ connections, delivery, sends, onError }),
    joinTurns: pLimit(JOINS_AT_ONCE),
  };
}

/** Wraps a listener of the app, so that an error or rejection of it cannot change a decision. */
function catchListenerErrors<Arguments extends readonly unknown[]>(
  listener: (...args: Arguments) => unknown,
  onFailure: (error: unknown) => void = (error) => printError(error, "onError"),
): (...args: Arguments) => void {
  return (...args) => {
    try {
      Promise.resolve(listener(...args)).catch(onFailure);
    } catch (error) {
      onFailure(error);
    }
  };
}
