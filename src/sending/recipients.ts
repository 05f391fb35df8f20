import { denied, newReference, recordStep } from "../audit/decision.ts";
import { requireRule } from "../auth/authorize.ts";
import type { Gateway } from "../auth/gateways.ts";
import { type ConnectionRow, PAGE_SIZE } from "../connections/connections.ts";
import type { Recipient } from "../delivery/delivery.ts";
import { RefusedError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { PageEvaluator } from "../permissions/rules.ts";
import { decisionContextOf, HOOK_DEADLINE_MS, withTimeout } from "../revocation/recheck.ts";
import type { Services } from "../services.ts";
import type { AudienceQuery } from "./audience.ts";

/** Recipients, and the moment just before they were read. */
export interface Page {
  readonly page: readonly ConnectionRow[];
  /** The id after which the page begins; `""` for the first page. */
  readonly after: string;
  /** By {@link ChangedSubjects}. */
  readonly readAt: number;
  /** Epoch milliseconds, from which the rows' ages count back. */
  readonly at: number;
}

/** The audience page by page, in the order of ids. @param after the last id that is left out; `""` for none */
export async function* pagesOf(
  services: Services,
  plan: AudienceQuery,
  after: string,
): AsyncGenerator<Page, void> {
  const permissions = permissionsOf(services, plan);
  for (let last = after; ; ) {
    const [readAt, at] = [services.changedSubjects.now(), Date.now()];
    const page = await services.connections.recipients(plan.selector, last, permissions);
    yield { page, after: last, readAt, at };
    last = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return;
  }
}

/** Ids of the sessions of a page that may have what is sent: by their rules, then by each hook, asked once. */
export async function permittedRecipients(
  services: Services,
  plan: AudienceQuery,
  page: readonly ConnectionRow[],
): Promise<ReadonlySet<string>> {
  const rules = plan.rules.map(({ rule }) => rule);
  const judges = new Map<string, PageEvaluator>();
  let permitted = page.filter((connection) => {
    // A session of a view that is not mounted here is nobody we can vouch for.
    const view = services.views.get(connection.view);
    if (!view) return false;
    const judge = judges.get(view.path) ?? new PageEvaluator([view.rule, ...rules]);
    judges.set(view.path, judge);
    return judge.allows(connection);
  });
  for (const hook of plan.hooks) {
    const users = new Set(permitted.flatMap(({ userId }) => userId ?? []));
    const named = users.size === 0 ? users : await askMany(services, plan, hook, [...users]);
    permitted = permitted.filter(({ userId }) => userId !== null && named.has(userId));
  }
  return new Set(permitted.map(({ id }) => id));
}

/** A hook that fails, or is silent for too long, has let nobody in. */
async function askMany(
  services: Services,
  plan: AudienceQuery,
  hook: AudienceQuery["hooks"][number],
  users: readonly string[],
): Promise<ReadonlySet<string>> {
  try {
    const asking = Promise.resolve(hook(users));
    const named: unknown = await withTimeout(
      HOOK_DEADLINE_MS,
      asking,
      `authorizeMany has not answered for ${HOOK_DEADLINE_MS} ms.`,
    );
    if (typeof named !== "object" || named === null || !(Symbol.iterator in named)) {
      throw new TypeError(`authorizeMany gives a list of user ids, not ${formatValue(named)}.`);
    }
    return new Set(named as Iterable<string>);
  } catch (error) {
    services.onError(error, `authorizeMany for ${JSON.stringify(plan.audience)}`);
    return new Set();
  }
}

/** Why a send passed somebody by, for whoever asks later. */
export function recordDenial(services: Services, plan: AudienceQuery, connection: ConnectionRow): void {
  const context = decisionContextOf(connection, "delivery");
  if (plan.selector.kind === "channel") context.channel = plan.selector.channel;
  try {
    const view = services.views.get(connection.view);
    if (!view) return;
    requireRule(context, view.name, view.rule, connection);
    for (const { what, rule } of plan.rules) requireRule(context, what, rule, connection);
    if (plan.hooks.length === 0) return;
    const what = `authorizeMany of channel "${context.channel}"`;
    recordStep(context, { kind: "authorize", what, allowed: false });
    throw new RefusedError(`${what} did not name the user.`, { reason: "authorize" });
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    services.keep(denied(context, error, newReference()));
  }
}

/** Where a session's socket is, or undefined when its gateway was removed. */
export async function recipientOf(
  services: Services,
  connection: ConnectionRow,
): Promise<Recipient | undefined> {
  const gateway = await services.gateways.find(connection.gatewayId);
  return gateway && recipientAt(gateway, connection, Date.now());
}

/** @param at when the row was read, in epoch milliseconds */
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
 * Returns every permission that the rules of a plan and of the views mention. undefined: all permissions, since `authorizeMany` can
 * depend on each of them, and a change of a group that gives one of them has to be noticed.
 */
export function permissionsOf(services: Services, plan: AudienceQuery): readonly string[] | undefined {
  if (plan.hooks.length > 0) return undefined;
  const views = [...services.views.values()].map((view) => view.rule);
  const rules = [...plan.rules.map(({ rule }) => rule), ...views];
  return [...new Set(rules.flatMap((rule) => [...rule.anyOf.flat(), ...rule.allOf]))];
}
