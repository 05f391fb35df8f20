import { PAGE_SIZE } from "../connections/connections.ts";
import type { ConnectionSelector } from "../connections/selector.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import type { Outcome, Recipient } from "../delivery/delivery.ts";
import { encodeMessage } from "../delivery/frame.ts";
import { type DeliveryPreview, type DeliveryReport, DeliveryTally } from "../delivery/report.ts";
import { type ChangeOptions, checkChangeOptions } from "../permissions/grants.ts";
import { ReportedPromise } from "../reported-promise.ts";
import type { ChangedSubject } from "../revocation/changed-subjects.ts";
import type { Services } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { Sender, SendOptions } from "../views/context.ts";
import { type AudienceQuery, buildAudienceQuery } from "./audience.ts";
import { audienceKey, checkSendOptions, send, trackSend } from "./fan-out.ts";
import { pagesOf, permittedRecipients, recipientAt } from "./recipients.ts";
import type { SendTurn } from "./send-order.ts";

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
export function createSender(
  services: Services,
  audience: Audience,
  requirement: Requirement,
  by?: string,
  kept?: SendTurn,
): Sender {
  const plan = buildAudienceQuery(services, audience, requirement);
  const order = audienceKey(plan.audience);
  // A user has one turn, however many audiences the user sends to.
  const flow = by === undefined ? order : `user ${by}`;
  const sendAll = async (message: unknown, options: SendOptions) => {
    const turn = kept ?? services.sendOrder.enter(order);
    try {
      checkSendOptions(options);
      return await send(services, plan, encodeMessage(message), options, turn, flow);
    } finally {
      turn.leave();
    }
  };
  const reported = <Result>(work: () => Promise<Result>, name: string) =>
    ReportedPromise.of(withStorageErrors(services.database, work), {
      report: (error) => services.onError(error, `to(${order}).${name}(), which was not awaited`),
      track: (reporting) => void trackSend(services, reporting),
    });
  return {
    send: (message, options = {}) => reported(() => sendAll(message, options), "send"),
    preview: () => reported(() => previewPages(services, plan), "preview"),
    close: (options = {}) => reported(() => closeAll(services, plan, options, by), "close"),
  };
}

/**
 * Returns the requirement of a send, or none. One that is `undefined`, for example after a wrong import, is passed on and rejected:
 * the send would reach everyone.
 */
export function givenRequirement(given: readonly [requirement?: Requirement]): Requirement {
  return given.length === 0 ? {} : (given[0] as Requirement);
}

async function previewPages(services: Services, plan: AudienceQuery): Promise<DeliveryPreview> {
  let [recipients, permitted] = [0, 0];
  for await (const { page } of pagesOf(services, plan, "")) {
    recipients += page.length;
    permitted += (await permittedRecipients(services, plan, page)).size;
  }
  return { recipients, permitted, withheld: recipients - permitted };
}

/** The rows first: from then on nothing is accepted or delivered, though a gateway may be out of reach. */
async function closeAll(
  services: Services,
  plan: AudienceQuery,
  options: ChangeOptions,
  user: string | undefined,
): Promise<DeliveryReport> {
  checkChangeOptions(options);
  const { by = user, reason } = options;
  const whose = await closedUser(services, plan.selector);
  await services.database.transaction(async (db) => {
    const details = { audience: plan.audience };
    await services.audit.record(db, await services.changeLog.append(db), {
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
    const page = await services.connections.recipients(plan.selector, after, []);
    const ids = page.map((connection) => connection.id);
    // Recorded with the rows: a process that reads the change finds them closed.
    await services.connections.closeMany(ids, "closed by the server", (db, closed) =>
      services.changeLog.append(db, connections(closed)),
    );
    services.changedSubjects.mark(connections(ids));
    const gateways = await services.gateways.findMany(page.map((connection) => connection.gatewayId));
    const closes = page.map((connection): Outcome | Promise<Outcome> => {
      const gateway = gateways.get(connection.gatewayId);
      if (!gateway) return { kind: "failed", reason: "gateway removed" };
      return closeOrRetry(services, recipientAt(gateway, connection, at));
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
async function closeOrRetry(services: Services, recipient: Recipient): Promise<Outcome> {
  const outcome = await services.delivery.close(recipient, { urgent: true });
  services.unfinishedCloses.keepFailed(recipient, outcome);
  return outcome;
}

function connections(ids: readonly string[]): readonly ChangedSubject[] {
  return ids.map((id) => ({ scope: "connection", subject: id }));
}

/** The user whose connections `close()` closes, if it is one. */
async function closedUser(services: Services, selector: ConnectionSelector): Promise<string | null> {
  if (selector.kind === "user") return selector.userId;
  if (selector.kind !== "connection" && selector.kind !== "connection-id") return null;
  // Two gateways may have given the same connection id.
  const users = new Set(
    (await services.connections.recipients(selector, "", [])).map(({ userId }) => userId),
  );
  const [user = null] = users;
  return users.size === 1 ? user : null;
}
