import { type ChangedSubject, EVERYONE } from "../access/changed-subjects.ts";
import { type ChangeOptions, checkChangeOptions } from "../access/grants.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import type { Outcome } from "../delivery/delivery.ts";
import { encodeMessage } from "../delivery/frame.ts";
import { type DeliveryPreview, type DeliveryReport, DeliveryTally } from "../delivery/report.ts";
import type { SendPlace } from "../delivery/send-order.ts";
import { ReportedPromise } from "../reported-promise.ts";
import type { SessionSelector } from "../sessions/session-selector.ts";
import { PAGE_SIZE } from "../sessions/sessions.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { Outlet, SendOptions } from "../view/context.ts";
import { type Plan, planOf } from "./audience-plan.ts";
import { pagesOf, permittedOf, recipientAt } from "./recipients.ts";
import type { Rooms } from "./rooms.ts";
import { checkSendOptions, orderOf, send, underWay } from "./send.ts";

/**
 * The server speaking to an audience.
 *
 * Every recipient is judged with the rights that the statement reading its page brought along: its view's rule,
 * the channel's rules, and what this send requires; then by each `authorizeMany`, once a page.
 *
 * @param by who closes, where the caller of `close` does not say
 * @param kept the place of a send that was asked for before this outlet could be made
 * @throws ConfigurationError for a channel that no definition matches, or a requirement that cannot be
 */
export function outletTo(
  rooms: Rooms,
  audience: Audience,
  requirement: Requirement,
  by?: string,
  kept?: SendPlace,
): Outlet {
  const plan = planOf(rooms, audience, requirement);
  const order = orderOf(plan.audience);
  // A user has one turn, however many audiences the user sends to.
  const flow = by === undefined ? order : `user ${by}`;
  const sendAll = async (message: unknown, options: SendOptions) => {
    const place = kept ?? rooms.sendOrder.enter(order);
    try {
      checkSendOptions(options);
      return await send(rooms, plan, encodeMessage(message), options, place, flow);
    } finally {
      place.leave();
    }
  };
  const reported = <Result>(work: () => Promise<Result>, name: string) =>
    ReportedPromise.of(withStorageErrors(rooms.database, work), {
      report: (error) => rooms.onError(error, `to(${order}).${name}(), which was not awaited`),
      track: (reporting) => void underWay(rooms, reporting),
    });
  return {
    send: (message, options = {}) => reported(() => sendAll(message, options), "send"),
    preview: () => reported(() => previewPages(rooms, plan), "preview"),
    close: (options = {}) => reported(() => closeAll(rooms, plan, options, by), "close"),
  };
}

/**
 * Returns the requirement of a send, or none. One that is `undefined`, for example after a wrong import, is passed on and rejected:
 * the send would reach everyone.
 */
export function givenRequirement(given: readonly [requirement?: Requirement]): Requirement {
  return given.length === 0 ? {} : (given[0] as Requirement);
}

async function previewPages(rooms: Rooms, plan: Plan): Promise<DeliveryPreview> {
  let [recipients, permitted] = [0, 0];
  for await (const { page } of pagesOf(rooms, plan, "")) {
    recipients += page.length;
    permitted += (await permittedOf(rooms, plan, page)).size;
  }
  return { recipients, permitted, withheld: recipients - permitted };
}

/** The rows first: from then on nothing is accepted or delivered, though a gateway may be out of reach. */
async function closeAll(
  rooms: Rooms,
  plan: Plan,
  options: ChangeOptions,
  user: string | undefined,
): Promise<DeliveryReport> {
  checkChangeOptions(options);
  const { by = user, reason } = options;
  const { user: whose, subjects } = await closedSubjects(rooms, plan.selector);
  await rooms.database.write(async (db) => {
    const details = { audience: plan.audience };
    await rooms.audit.record(db, await rooms.changeLog.append(db, subjects), {
      action: "close-sessions",
      by,
      reason,
      user: whose,
      details,
    });
  });
  // Where the database fails from here on, the call rejects, and repeating it is safe.
  const tally = new DeliveryTally();
  let after = "";
  for (;;) {
    const at = Date.now();
    const page = await rooms.sessions.recipients(plan.selector, after, []);
    await rooms.sessions.closeMany(
      page.map((session) => session.id),
      "closed by the server",
    );
    rooms.changedSubjects.mark(page.map(({ id }) => ({ scope: "connection", subject: id })));
    const gateways = await rooms.gateways.findMany(page.map((session) => session.gatewayId));
    const closes = page.map((session): Outcome | Promise<Outcome> => {
      const gateway = gateways.get(session.gatewayId);
      if (!gateway) return { kind: "failed", reason: "gateway removed" };
      return rooms.delivery.close(recipientAt(gateway, session, at), { urgent: true });
    });
    for (const outcome of await Promise.all(closes)) {
      tally.begin();
      tally.count(outcome);
    }
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return tally.report(null);
  }
}

/** The connections that an audience of `close()` concerns, and their user if it is one. */
async function closedSubjects(
  rooms: Rooms,
  selector: SessionSelector,
): Promise<{ readonly user: string | null; readonly subjects: readonly ChangedSubject[] }> {
  const { kind } = selector;
  if (kind === "user")
    return { user: selector.userId, subjects: [{ scope: "user", subject: selector.userId }] };
  if (kind === "channel") return { user: null, subjects: [{ scope: "channel", subject: selector.channel }] };
  if (kind !== "session" && kind !== "connection") return { user: null, subjects: EVERYONE };
  // Two gateways may have given the same connection id.
  const rows = await rooms.sessions.recipients(selector, "", []);
  const users = new Set(rows.map(({ userId }) => userId));
  const [user = null] = users;
  const subjects = rows.map(({ id }) => ({ scope: "connection", subject: id }) as const);
  return { user: users.size === 1 ? user : null, subjects };
}
