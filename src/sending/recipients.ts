import { denied, newReference, recordStep } from "../audit/decision.ts";
import { requireRule } from "../auth/authorize.ts";
import type { Recipient } from "../delivery/delivery.ts";
import { ForbiddenError, RequestError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { PageEvaluator } from "../permissions/rules.ts";
import { decisionContextOf, HOOK_DEADLINE_MS } from "../revocation/recheck.ts";
import type { DeliveryServices } from "../services.ts";
import { CONNECTION_PAGE, type ConnectionRow } from "../storage/stores/connections.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import { withTimeout } from "../timing.ts";
import type { AudienceQuery } from "./audience.ts";

/** A page of recipients, with a sequence number and a time from directly before it was read. */
export interface Page {
  readonly page: readonly ConnectionRow[];
  /** The id after which the page begins, or `""` for the first page. */
  readonly after: string;
  /** Number of changes before the page was read, from {@link ChangedSubjects}. */
  readonly sequence: number;
  /** Epoch milliseconds. The ages of the rows are relative to it. */
  readonly at: number;
}

/**
 * Reads the audience in pages, in the order of ids.
 *
 * @param after the id after which the first page begins, or `""` for the start
 */
export async function* pagesOf(
  services: DeliveryServices,
  query: AudienceQuery,
  after: string,
): AsyncGenerator<Page, void> {
  const permissions = permissionsOf(services, query);
  for (let last = after; ; ) {
    const [sequence, at] = [services.changedSubjects.sequence, Date.now()];
    const page = await services.store.connections.recipients(query.selector, last, permissions);
    yield { page, after: last, sequence, at };
    last = page.at(-1)?.id ?? "";
    if (page.length < CONNECTION_PAGE) return;
  }
}

/**
 * Returns the ids of the connections of a page that are allowed to receive the message.
 *
 * The rules are evaluated first. Then each hook is called once for the remaining users.
 */
export async function permittedRecipients(
  services: DeliveryServices,
  query: AudienceQuery,
  page: readonly ConnectionRow[],
): Promise<ReadonlySet<string>> {
  const rules = query.rules.map(({ rule }) => rule);
  const evaluators = new Map<string, PageEvaluator>();
  let permitted = page.filter((connection) => {
    // The rule of a view that is not mounted here is not known.
    const view = services.definitions.views.get(connection.view);
    if (!view) return false;
    const evaluator = evaluators.get(view.path) ?? new PageEvaluator([view.rule, ...rules]);
    evaluators.set(view.path, evaluator);
    return evaluator.isAllowed(connection);
  });
  for (const hook of query.hooks) {
    const users = new Set(permitted.flatMap(({ userId }) => userId ?? []));
    const returned = users.size === 0 ? users : await callAuthorizeMany(services, query, hook, [...users]);
    permitted = permitted.filter(({ userId }) => userId !== null && returned.has(userId));
  }
  return new Set(permitted.map(({ id }) => id));
}

/** Calls `authorizeMany` with all users. If it fails or times out, no user is allowed. */
async function callAuthorizeMany(
  services: DeliveryServices,
  query: AudienceQuery,
  hook: AudienceQuery["hooks"][number],
  users: readonly string[],
): Promise<ReadonlySet<string>> {
  try {
    const calling = Promise.resolve(hook(users));
    const returned: unknown = await withTimeout(
      HOOK_DEADLINE_MS,
      calling,
      `authorizeMany did not return within ${HOOK_DEADLINE_MS} ms. Make it faster.`,
    );
    if (typeof returned !== "object" || returned === null || !(Symbol.iterator in returned)) {
      throw new TypeError(
        `authorizeMany must return a list of user ids, but returned ${formatValue(returned)}. Return an array or a Set.`,
      );
    }
    return new Set(returned as Iterable<string>);
  } catch (error) {
    services.reports.onError(error, `authorizeMany for ${JSON.stringify(query.audience)}`);
    return new Set();
  }
}

/** Stores the decision that denied a recipient. */
export function recordDenial(
  services: DeliveryServices,
  query: AudienceQuery,
  connection: ConnectionRow,
): void {
  const context = decisionContextOf(connection, "delivery");
  if (query.selector.kind === "channel") context.channel = query.selector.channel;
  try {
    const view = services.definitions.views.get(connection.view);
    if (!view) return;
    requireRule(context, view.name, view.rule, connection);
    for (const { what, rule } of query.rules) requireRule(context, what, rule, connection);
    if (query.hooks.length === 0) return;
    const what = `authorizeMany of channel "${context.channel}"`;
    recordStep(context, { kind: "authorize", what, allowed: false });
    throw new ForbiddenError(
      `${what} did not return the user. To allow the user, include its id in the result.`,
      { reason: "authorize" },
    );
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    services.reports.recordDecision(denied(context, error, newReference()));
  }
}

/** Returns the recipient of a connection, or `undefined` if its gateway was removed. */
export async function recipientOf(
  services: DeliveryServices,
  connection: ConnectionRow,
): Promise<Recipient | undefined> {
  const gateway = await services.gateways.find(connection.gatewayId);
  return gateway && recipientAt(gateway, connection, Date.now());
}

/**
 * Returns the recipient of a connection.
 *
 * @param at when the row was read, in epoch milliseconds
 */
export function recipientAt(gateway: Gateway, connection: ConnectionRow, at: number): Recipient {
  return {
    connectionKey: connection.id,
    userId: connection.userId,
    connectionId: connection.connectionId,
    endpoint: gateway.endpoint,
    connectedAt: at - connection.ageMs,
  };
}

/**
 * Returns every permission in the rules of a query and of the views, or `undefined` for all
 * permissions.
 *
 * `authorizeMany` can depend on any permission. With it, a change of any group must be noticed.
 */
export function permissionsOf(
  services: DeliveryServices,
  query: AudienceQuery,
): readonly string[] | undefined {
  if (query.hooks.length > 0) return undefined;
  const views = [...services.definitions.views.values()].map((view) => view.rule);
  const rules = [...query.rules.map(({ rule }) => rule), ...views];
  return [...new Set(rules.flatMap((rule) => [...rule.anyOf.flat(), ...rule.allOf]))];
}
