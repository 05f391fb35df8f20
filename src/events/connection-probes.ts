import type { ManagementApi } from "../delivery/management-api.ts";
import { type RequestError, TooManyRequestsError } from "../errors.ts";
import type { EventServices } from "../services.ts";
import type {
  ConnectionLimit,
  ConnectionScope,
  ConnectionStore,
  OpenConnection,
} from "../storage/stores/connections.ts";
import { waitAtMost } from "../timing.ts";

/**
 * Checks whether a user could open one more connection to a view now.
 *
 * The call reserves nothing. `$connect` checks the limit again.
 *
 * @param view path of the view
 * @throws RequestError with 429 if the user has as many open connections as the limit allows
 */
export async function requireConnectionSlot(
  services: EventServices,
  view: string,
  userId: string,
): Promise<void> {
  const limit = services.limits.settings.connectionsAt(view);
  if (limit === undefined) return;
  const isFull = async () => (await services.store.connections.countOfUser(userId, limit.scope)) >= limit.max;
  if (!(await isFull())) return;
  const closed = await services.connections.probes.closeGone(userId, limit.scope);
  if (closed === 0 || (await isFull())) throw tooManyConnections(userId, limit);
}

export function tooManyConnections(userId: string, { max, scope }: ConnectionLimit): RequestError {
  const ofView = "view" in scope ? ` of view ${scope.view}` : "";
  return new TooManyRequestsError(
    `User ${userId} has reached connectionsPerUser${ofView}, which allows ${max} open ${max === 1 ? "connection" : "connections"} ` +
      "at the same time. Close one of them, or raise the limit.",
    { reason: "connection-limit", clientMessage: "Too many connections." },
  );
}

/** Maximum number of connections of one user that are probed at the same time. */
const MAX_PROBES = 20;
/** Maximum duration of all probes of one user, in milliseconds. */
const PROBE_TIMEOUT_MS = 2000;

interface Probe {
  readonly scope: string;
  readonly closed: Promise<number>;
}

/**
 * Closes rows of connections that no longer exist at API Gateway, because their `$disconnect` was
 * lost.
 *
 * A row is closed only if API Gateway responds that the connection is gone. A probe that fails or
 * times out closes nothing.
 */
export class ConnectionProbes {
  readonly #api: ManagementApi;
  readonly #connections: Pick<ConnectionStore, "oldestOfUser" | "closeMany">;
  /** The probe that is in flight, by user id. Each user has at most one. */
  readonly #inFlight = new Map<string, Probe>();

  constructor(api: ManagementApi, connections: Pick<ConnectionStore, "oldestOfUser" | "closeMany">) {
    this.#api = api;
    this.#connections = connections;
  }

  /**
   * Probes the oldest connections of a user, all at the same time. Concurrent calls for a user
   * share one probe.
   *
   * @returns the number of rows that were closed
   */
  async closeGone(userId: string, scope: ConnectionScope): Promise<number> {
    const key = JSON.stringify(scope);
    for (let other = this.#inFlight.get(userId); other; other = this.#inFlight.get(userId)) {
      if (other.scope === key) return other.closed;
      await other.closed.catch(() => undefined);
    }
    const closed = this.#probe(userId, scope).finally(() => this.#inFlight.delete(userId));
    this.#inFlight.set(userId, { scope: key, closed });
    return closed;
  }

  async #probe(userId: string, scope: ConnectionScope): Promise<number> {
    const oldest = await this.#connections.oldestOfUser(userId, scope, MAX_PROBES);
    const gone: string[] = [];
    const probes = oldest.map(async (connection) => {
      if (await this.#isGone(connection)) gone.push(connection.id);
    });
    await waitAtMost(PROBE_TIMEOUT_MS, Promise.allSettled(probes));
    // The copy excludes the results of probes that finish after the timeout.
    return (await this.#connections.closeMany([...gone], "gone")).size;
  }

  async #isGone({ endpoint, connectionId }: OpenConnection): Promise<boolean> {
    await this.#api.ready?.(endpoint);
    return (await this.#api.get?.(endpoint, connectionId))?.kind === "gone";
  }
}
