import { type DecisionContext, denied, newReference } from "../audit/decision.ts";
import { requireChannelRules, requireSendRules, runChannelAuthorize } from "../auth/authorize.ts";
import type { ConnectionRow, ConnectionWithChannels } from "../connections/connections.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import { RefusedError } from "../errors.ts";
import { refusalOf } from "../http/response.ts";
import { evaluateRules } from "../permissions/rules.ts";
import { ReportedPromise } from "../reported-promise.ts";
import { audienceKey, trackSend } from "../sending/fan-out.ts";
import type { SendTurn } from "../sending/send-order.ts";
import { createSender, givenRequirement } from "../sending/sender.ts";
import type { Services } from "../services.ts";
import { checkChannelName } from "../views/channels.ts";
import type { Connection, MessageContext, Sender, User } from "../views/context.ts";
import { userOf } from "../views/user.ts";
import { joinChannel } from "./join.ts";

/**
 * A session as authors see it. Its channels change while a handler joins and leaves.
 *
 * A class, because V8 makes a hidden class for each object literal with accessors, which cost more than any other part of a message.
 */
export class LiveConnection implements Connection {
  readonly id: string;
  readonly connectionId: string;
  readonly gateway: string;
  readonly view: string;
  readonly connectedAt: number;
  #channels: readonly string[];

  /** @param channels those that the user may be in now; the row may know of others, which an eviction will end */
  constructor(
    row: Pick<ConnectionWithChannels, "id" | "connectionId" | "view" | "connectedAt">,
    gateway: string,
    channels: readonly string[],
  ) {
    this.id = row.id;
    this.connectionId = row.connectionId;
    this.gateway = gateway;
    this.view = row.view;
    this.connectedAt = row.connectedAt;
    this.#channels = channels;
  }

  get channel(): string | undefined {
    return this.#channels.at(-1);
  }

  get channels(): readonly string[] {
    return this.#channels;
  }

  toJSON(): Connection {
    const { id, connectionId, gateway, view, connectedAt, channel, channels } = this;
    return { id, connectionId, gateway, view, connectedAt, channel, channels };
  }

  static joined(connection: LiveConnection, channel: string): void {
    connection.#channels = [...connection.#channels.filter((other) => other !== channel), channel];
  }

  static left(connection: LiveConnection, channel: string): void {
    connection.#channels = connection.#channels.filter((other) => other !== channel);
  }
}

/** The channels of a session whose rules its user meets with the rights that were read together with it. */
export function permittedChannels(services: Services, row: ConnectionWithChannels): readonly string[] {
  return row.channels.filter((name) => {
    const channel = services.channels.match(name);
    return channel !== undefined && evaluateRules(channel.rules, row).allowed;
  });
}

/**
 * Returns what a handler receives. Each of its operations checks the permissions again.
 *
 * @param untilEnded resolves when the handler has ended. A rejection that no code has handled by then is reported
 */
export function messageContext(
  services: Services,
  row: ConnectionRow,
  connection: LiveConnection,
  user: User,
  body: unknown,
  context: DecisionContext,
  untilEnded: Promise<void>,
): MessageContext {
  const operation: Operation = (work) => {
    const report = (error: unknown) => reportRejection(services, error, context);
    const track = (reporting: Promise<void>) => void trackSend(services, reporting);
    return ReportedPromise.of(trackSend(services, work()), { report, track, until: untilEnded });
  };
  return {
    user,
    connection,
    body,
    join: (channel) =>
      operation(async () => {
        await joinChannel(services, row, channel, context);
        LiveConnection.joined(connection, channel);
      }),
    leave: (channel = connection.channel) =>
      operation(async () => {
        if (channel === undefined) return;
        await services.memberships.leaveOne(row.id, channel);
        LiveConnection.left(connection, channel);
      }),
    move: (channel) =>
      operation(async () => {
        const leaving = connection.channel;
        await joinChannel(services, row, channel, context, leaving);
        if (leaving !== undefined) LiveConnection.left(connection, leaving);
        LiveConnection.joined(connection, channel);
      }),
    requireChannel: (channel) =>
      operation(async () => {
        await channelNow(services, row, channel, context);
      }),
    to: (audience, ...requirement) =>
      outletFor(services, row, audience, givenRequirement(requirement), context, operation),
  };
}

/** Runs an operation of a handler. Its rejection is reported if the handler does not await it. */
type Operation = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** Reports an error that no caller received: a denial as a decision, any other error to `onError`. */
function reportRejection(services: Services, error: unknown, context: DecisionContext): void {
  const known = refusalOf(services.database.failure(error));
  if (known instanceof RefusedError) services.keep(denied(context, known, newReference()));
  else services.onError(known, `${context.path}: a promise that handler ${context.handler} did not await`);
}

/** A send on a user's behalf: to a channel, only if the user meets its rules at that moment. */
function outletFor(
  services: Services,
  row: ConnectionRow,
  audience: Audience,
  requirement: Requirement,
  context: DecisionContext,
  operation: Operation,
): Sender {
  const permitted = async (place?: SendTurn): Promise<Sender> => {
    if (typeof audience === "object" && audience !== null && "channel" in audience) {
      const { channel, now } = await channelNow(services, row, audience.channel, context);
      requireSendRules(context, channel, now);
    }
    return createSender(services, audience, requirement, row.userId ?? undefined, place);
  };
  return {
    send: (message, options) => {
      // The place is taken before the first await, so that sends go out in the order of the calls.
      const place = services.sendOrder.enter(audienceKey(audience));
      return operation(async () => {
        try {
          return await (await permitted(place)).send(message, options);
        } finally {
          place.leave();
        }
      });
    },
    preview: () => operation(async () => (await permitted()).preview()),
    close: (options) => operation(async () => (await permitted()).close(options)),
  };
}

/**
 * Whether the user may be in a channel, by rights read now: the handler may have been running for a while.
 *
 * @throws RefusedError when not, or when the session has ended
 */
async function channelNow(services: Services, row: ConnectionRow, name: unknown, context: DecisionContext) {
  checkChannelName(name);
  const channel = services.channels.require(name);
  const now = await services.connections.findById(services.database.db, row.id);
  if (!now) throw new RefusedError("The session ended while its handler ran.", { reason: "connection" });
  requireChannelRules(context, channel, now);
  await runChannelAuthorize(context, channel, userOf(now, services.permissions, context));
  return { channel, now };
}
