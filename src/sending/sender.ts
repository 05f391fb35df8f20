import type { ChangedSubject } from "../access/changed-subjects.ts";
import { type ChangeOptions, checkChangeOptions } from "../access/grants.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import type { Outcome, Recipient } from "../delivery/delivery.ts";
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
  const whose = await closedUser(rooms, plan.selector);
  await rooms.database.write(async (db) => {
    const details = { audience: plan.audience };
    await rooms.audit.record(db, await rooms.changeLog.append(db), {
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
    const ids = page.map((session) => session.id);
    // Recorded with the rows: a process that reads the change finds them closed.
    await rooms.sessions.closeMany(ids, "closed by the server", (db, closed) =>
      rooms.changeLog.append(db, connections(closed)),
    );
    rooms.changedSubjects.mark(connections(ids));
    const gateways = await rooms.gateways.findMany(page.map((session) => session.gatewayId));
    const closes = page.map((session): Outcome | Promise<Outcome> => {
      const gateway = gateways.get(session.gatewayId);
      if (!gateway) return { kind: "failed", reason: "gateway removed" };
      return closeOrRetry(rooms, recipientAt(gateway, session, at));
    });
    for (const outcome of await Promise.all(closes)) {
      tally.begin();
      tally.count(outcome);
    }
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return tally.report(null);
  }
}

/** Closes a connection whose row is closed. If API Gateway fails, the close is retried in the background. */
async function closeOrRetry(rooms: Rooms, recipient: Recipient): Promise<Outcome> {
  const outcome = await rooms.delivery.close(recipient, { urgent: true });
  rooms.unfinishedCloses.keepFailed(recipient, outcome);
  return outcome;
}

function connections(ids: readonly string[]): readonly ChangedSubject[] {
  return ids.map((id) => ({ scope: "connection", subject: id }));
}

/** The user whose connections `close()` closes, if it is one. */
async function closedUser(rooms: Rooms, selector: SessionSelector): Promise<string | null> {
  if (selector.kind === "user") return selector.userId;
  if (selector.kind !== "session" && selector.kind !== "connection") return null;
  // Two gateways may have given the same connection id.
  const users = new Set((await rooms.sessions.recipients(selector, "", [])).map(({ userId }) => userId));
  const [user = null] = users;
  return users.size === 1 ? user : null;
}
