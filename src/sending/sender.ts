import type { Audience, Requirement } from "../delivery/audience.ts";
import type { Outcome, Recipient } from "../delivery/delivery.ts";
import { encodeMessage } from "../delivery/frame.ts";
import { type DeliveryPreview, type DeliveryReport, DeliveryTally } from "../delivery/report.ts";
import { type ChangeOptions, checkChangeOptions } from "../permissions/grants.ts";
import { ReportedPromise } from "../reported-promise.ts";
import type { SendingServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { ChangedSubject } from "../storage/stores/changes.ts";
import { CONNECTION_PAGE, type ConnectionSelector } from "../storage/stores/connections.ts";
import type { Sender, SendOptions } from "../views/context.ts";
import { type AudienceQuery, buildAudienceQuery } from "./audience.ts";
import { audienceKey, checkSendOptions, send } from "./fan-out.ts";
import { pagesOf, permittedRecipients, recipientAt } from "./recipients.ts";
import type { SendTurn } from "./sends.ts";

/**
 * Creates a sender for an audience.
 *
 * The statement that reads a page of recipients also reads their permissions. Each recipient must
 * meet the rule of its view, the rules of the channel and the requirement of the send. Then each
 * `authorizeMany` is called once per page.
 *
 * @param by user id for the audit entry of `close()`, if its caller sets no `by`.
 * @param entered the turn of a send that was called before this sender could be created.
 * @throws ConfigurationError if no definition matches the channel, or the requirement is invalid
 */
export function createSender(
  services: SendingServices,
  audience: Audience,
  requirement: Requirement,
  by?: string,
  entered?: SendTurn,
): Sender {
  const query = buildAudienceQuery(services, audience, requirement);
  const order = audienceKey(query.audience);
  // A user has one turn, however many audiences the user sends to.
  const flow = by === undefined ? order : `user ${by}`;
  const sendAll = async (message: unknown, options: SendOptions) => {
    const turn = entered ?? services.sends.order.enter(order);
    try {
      checkSendOptions(options);
      return await send(services, query, encodeMessage(message), options, turn, flow);
    } finally {
      turn.leave();
    }
  };
  const reported = <Result>(work: () => Promise<Result>, name: string) =>
    ReportedPromise.of(withStorageErrors(services.store, work), {
      report: (error) => services.reports.onError(error, `to(${order}).${name}(), which was not awaited`),
      track: (reporting) => void services.sends.track(reporting),
    });
  return {
    send: (message, options = {}) => reported(() => sendAll(message, options), "send"),
    preview: () => reported(() => previewPages(services, query), "preview"),
    close: (options = {}) => reported(() => closeAll(services, query, options, by), "close"),
  };
}

/**
 * Returns the requirement of a send, or an empty one.
 *
 * An explicit `undefined`, for example after a wrong import, is not replaced. It is rejected later,
 * because the send would otherwise reach everyone.
 */
export function requirementOf(given: readonly [requirement?: Requirement]): Requirement {
  return given.length === 0 ? {} : (given[0] as Requirement);
}

async function previewPages(services: SendingServices, query: AudienceQuery): Promise<DeliveryPreview> {
  let [recipients, permitted] = [0, 0];
  for await (const { page } of pagesOf(services, query, "")) {
    recipients += page.length;
    permitted += (await permittedRecipients(services, query, page)).size;
  }
  return { recipients, permitted, denied: recipients - permitted };
}

/**
 * Closes all connections of an audience.
 *
 * The rows are closed first. From then on, no message is accepted or delivered, even if a gateway
 * is unreachable.
 */
async function closeAll(
  services: SendingServices,
  query: AudienceQuery,
  options: ChangeOptions,
  user: string | undefined,
): Promise<DeliveryReport> {
  checkChangeOptions(options);
  const { by = user, reason } = options;
  const closedUserId = await closedUser(services, query.selector);
  await services.store.audit.append({
    action: "close-connections",
    by,
    reason,
    user: closedUserId,
    details: { audience: query.audience },
  });
  // If the database fails from here on, the call rejects. The caller can repeat it.
  const tally = new DeliveryTally();
  let after = "";
  for (;;) {
    const at = Date.now();
    const page = await services.store.connections.recipients(query.selector, after, []);
    const ids = page.map((connection) => connection.id);
    await services.store.connections.closeMany(ids, "closed by the server", { isLogged: true });
    services.changedSubjects.mark(connectionSubjects(ids));
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
    if (page.length < CONNECTION_PAGE) return tally.report(null);
  }
}

/**
 * Closes a connection after its row was closed. If API Gateway fails, the close is retried in the
 * background.
 */
async function closeOrRetry(services: SendingServices, recipient: Recipient): Promise<Outcome> {
  const outcome = await services.delivery.close(recipient, { urgent: true });
  services.unfinishedCloses.keepFailed(recipient, outcome);
  return outcome;
}

function connectionSubjects(ids: readonly string[]): readonly ChangedSubject[] {
  return ids.map((id) => ({ scope: "connection", subject: id }));
}

/** Returns the user of the connections that `close()` closes, or `null` if there are several. */
async function closedUser(services: SendingServices, selector: ConnectionSelector): Promise<string | null> {
  if (selector.kind === "user") return selector.userId;
  if (selector.kind !== "connection" && selector.kind !== "connection-id") return null;
  // Two gateways can have assigned the same connection id.
  const users = new Set(
    (await services.store.connections.recipients(selector, "", [])).map(({ userId }) => userId),
  );
  const [user = null] = users;
  return users.size === 1 ? user : null;
}

/**
 * Closes a connection if its client does not read its messages, so that the client reconnects.
 *
 * The row is closed first. From then on, no message from or to the connection is accepted.
 */
export function closeTooSlow(services: SendingServices, recipient: Recipient): void {
  void services.sends.track(closeAndReport(services, recipient));
}

async function closeAndReport(services: SendingServices, recipient: Recipient): Promise<void> {
  const { connectionId, connectionKey } = recipient;
  const where = `closing connection ${connectionId}, which is too slow`;
  try {
    // The answer to a message that was rejected early belongs to no row.
    if (connectionKey !== "") await services.store.connections.closeMany([connectionKey], "too slow");
    // With connectedAt 0, a 410 means that the connection is gone, even if its row is new.
    const outcome = await services.delivery.close({ ...recipient, connectedAt: 0 }, { urgent: true });
    if (outcome.kind !== "failed" || services.delivery.isAllStopped) return;
    if (connectionKey !== "") services.unfinishedCloses.keepFailed(recipient, outcome);
    const error = new Error(
      `API Gateway did not close the connection (${outcome.reason}). Its messages are denied. ` +
        "Check that this process can reach the gateway.",
    );
    services.reports.onError(error, where);
  } catch (error) {
    services.reports.onError(error, where);
  }
}
