import { newReference, note, refusal } from "../access/decisions.ts";
import { demand } from "../access/guard.ts";
import { PageJudge } from "../access/rules.ts";
import type { Recipient } from "../delivery/delivery.ts";
import { RefusedError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import type { Gateway } from "../gateways/gateways.ts";
import { PAGE_SIZE, type SessionRow } from "../sessions/sessions.ts";
import type { Plan } from "./audience-plan.ts";
import type { Rooms } from "./rooms.ts";
import { HOOK_DEADLINE_MS, trailOf, within } from "./standing.ts";

/** Recipients, and the moment just before they were read. */
export interface Page {
  readonly page: readonly SessionRow[];
  /** The id after which the page begins; `""` for the first page. */
  readonly after: string;
  /** By {@link ChangedSubjects}. */
  readonly readAt: number;
  /** Epoch milliseconds, from which the rows' ages count back. */
  readonly at: number;
}

/** The audience page by page, in the order of ids. @param after the last id that is left out; `""` for none */
export async function* pagesOf(rooms: Rooms, plan: Plan, after: string): AsyncGenerator<Page, void> {
  const permissions = permissionsOf(rooms, plan);
  for (let last = after; ; ) {
    const [readAt, at] = [rooms.changedSubjects.now(), Date.now()];
    const page = await rooms.sessions.recipients(plan.selector, last, permissions);
    yield { page, after: last, readAt, at };
    last = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return;
  }
}

/** Ids of the sessions of a page that may have what is sent: by their rules, then by each hook, asked once. */
export async function permittedOf(
  rooms: Rooms,
  plan: Plan,
  page: readonly SessionRow[],
): Promise<ReadonlySet<string>> {
  const rules = plan.rules.map(({ rule }) => rule);
  const judges = new Map<string, PageJudge>();
  let permitted = page.filter((session) => {
    // A session of a view that is not mounted here is nobody we can vouch for.
    const view = rooms.views.get(session.view);
    if (!view) return false;
    const judge = judges.get(view.path) ?? new PageJudge([view.rule, ...rules]);
    judges.set(view.path, judge);
    return judge.allows(session);
  });
  for (const hook of plan.hooks) {
    const users = new Set(permitted.flatMap(({ userId }) => userId ?? []));
    const named = users.size === 0 ? users : await askMany(rooms, plan, hook, [...users]);
    permitted = permitted.filter(({ userId }) => userId !== null && named.has(userId));
  }
  return new Set(permitted.map(({ id }) => id));
}

/** A hook that fails, or is silent for too long, has let nobody in. */
async function askMany(
  rooms: Rooms,
  plan: Plan,
  hook: Plan["hooks"][number],
  users: readonly string[],
): Promise<ReadonlySet<string>> {
  try {
    const asking = Promise.resolve(hook(users));
    const named: unknown = await within(
      HOOK_DEADLINE_MS,
      asking,
      `authorizeMany has not answered for ${HOOK_DEADLINE_MS} ms.`,
    );
    if (typeof named !== "object" || named === null || !(Symbol.iterator in named)) {
      throw new TypeError(`authorizeMany gives a list of user ids, not ${formatValue(named)}.`);
    }
    return new Set(named as Iterable<string>);
  } catch (error) {
    rooms.onError(error, `authorizeMany for ${JSON.stringify(plan.audience)}`);
    return new Set();
  }
}

/** Why a send passed somebody by, for whoever asks later. */
export function explainWithheld(rooms: Rooms, plan: Plan, session: SessionRow): void {
  const trail = trailOf(session, "delivery");
  if (plan.selector.kind === "channel") trail.channel = plan.selector.channel;
  try {
    const view = rooms.views.get(session.view);
    if (!view) return;
    demand(trail, view.name, view.rule, session);
    for (const { what, rule } of plan.rules) demand(trail, what, rule, session);
    if (plan.hooks.length === 0) return;
    const what = `authorizeMany of channel "${trail.channel}"`;
    note(trail, { kind: "authorize", what, allowed: false });
    throw new RefusedError(`${what} did not name the user.`, { reason: "authorize" });
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    rooms.keep(refusal(trail, error, newReference()));
  }
}

/** Where a session's socket is, or undefined when its gateway was removed. */
export async function recipientOf(rooms: Rooms, session: SessionRow): Promise<Recipient | undefined> {
  const gateway = await rooms.gateways.find(session.gatewayId);
  return gateway && recipientAt(gateway, session, Date.now());
}

/** @param at when the row was read, in epoch milliseconds */
export function recipientAt(gateway: Gateway, session: SessionRow, at: number): Recipient {
  return {
    sessionId: session.id,
    userId: session.userId,
    connectionId: session.connectionId,
    endpoint: gateway.endpoint,
    connectedAt: at - session.ageMs,
  };
}

/**
 * Returns every permission that the rules of a plan and of the views mention. undefined: all permissions, since `authorizeMany` can
 * depend on each of them, and a change of a group that gives one of them has to be noticed.
 */
export function permissionsOf(rooms: Rooms, plan: Plan): readonly string[] | undefined {
  if (plan.hooks.length > 0) return undefined;
  const views = [...rooms.views.values()].map((view) => view.rule);
  const rules = [...plan.rules.map(({ rule }) => rule), ...views];
  return [...new Set(rules.flatMap((rule) => [...rule.anyOf.flat(), ...rule.allOf]))];
}
