import { type DecisionContext, denied, newReference } from "../audit/decision.ts";
import {
  MAX_CHECKS,
  requireChannelRules,
  requireSendRules,
  runChannelAuthorize,
  tooManyChanges,
} from "../auth/authorize.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import { toRequestError } from "../delivery/frame.ts";
import { ForbiddenError, RequestError } from "../errors.ts";
import { evaluateRules } from "../permissions/rules.ts";
import { ReportedPromise } from "../reported-promise.ts";
import { audienceKey } from "../sending/fan-out.ts";
import { createSender, requirementOf } from "../sending/sender.ts";
import type { SendTurn } from "../sending/sends.ts";
import type { EventServices } from "../services.ts";
import type { ConnectionRow, ConnectionWithChannels } from "../storage/stores/connections.ts";
import { checkChannelName } from "../views/channels.ts";
import type { Connection, MessageContext, Sender, User } from "../views/context.ts";
import { userOf } from "../views/user.ts";
import { joinChannel } from "./join.ts";

/**
 * The connection that handlers receive. Its channels change when a handler joins and leaves.
 *
 * It is a class because V8 creates a hidden class for each object literal with accessors. That cost
 * more than any other part of a message.
 */
export class LiveConnection implements Connection {
  readonly id: string;
  readonly connectionId: string;
  readonly gateway: string;
  readonly view: string;
  readonly connectedAt: number;
  #channels: readonly string[];

  /**
   * @param channels the channels that the user is allowed to be in now. The row can contain others,
   *   which a revocation will remove
   */
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

/**
 * Returns the channels of a connection that its user is allowed to be in.
 *
 * The rules are evaluated with the permissions that were read with the row.
 */
export function permittedChannels(services: EventServices, row: ConnectionWithChannels): readonly string[] {
  return row.channels.filter((name) => {
    const channel = services.definitions.channels.match(name);
    return channel !== undefined && evaluateRules(channel.rules, row).allowed;
  });
}

/**
 * Returns the context of a handler. Each of its operations checks the permissions again.
 *
 * @param untilEnded resolves when the handler has finished. A rejection that the handler has not
 *   caught by then is reported
 */
export function messageContext(
  services: EventServices,
  row: ConnectionRow,
  { user, connection, body }: { user: User; connection: LiveConnection; body: unknown },
  context: DecisionContext,
  untilEnded: Promise<void>,
): MessageContext {
  const operation: Operation = (work) => {
    const report = (error: unknown) => reportRejection(services, error, context);
    const track = (reporting: Promise<void>) => void services.sending.sends.track(reporting);
    return ReportedPromise.of(services.sending.sends.track(work()), { report, track, until: untilEnded });
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
        await services.store.memberships.leave(row.id, channel);
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
        await requireCurrentChannel(services, row, channel, context);
      }),
    to: (audience, ...requirement) =>
      createUserSender(services, row, audience, requirementOf(requirement), context, operation),
  };
}

/** Runs an operation of a handler. Its rejection is reported if the handler does not await it. */
type Operation = <Result>(work: () => Promise<Result>) => Promise<Result>;

/**
 * Reports an error that no caller received: a denial as a decision, any other error to `onError`.
 */
function reportRejection(services: EventServices, error: unknown, context: DecisionContext): void {
  const failure = toRequestError(services.store.failure(error));
  if (failure instanceof RequestError)
    services.reports.recordDecision(denied(context, failure, newReference()));
  else
    services.reports.onError(
      failure,
      `${context.path}: a promise that handler ${context.handler} did not await`,
    );
}

/** Creates a sender for a user. A send to a channel requires that the user meets its rules then. */
function createUserSender(
  services: EventServices,
  row: ConnectionRow,
  audience: Audience,
  requirement: Requirement,
  context: DecisionContext,
  operation: Operation,
): Sender {
  const permitted = async (turn?: SendTurn): Promise<Sender> => {
    if (typeof audience === "object" && audience !== null && "channel" in audience) {
      const { channel, current } = await requireCurrentChannel(services, row, audience.channel, context);
      requireSendRules(context, channel, current);
    }
    return createSender(services.sending, audience, requirement, row.userId ?? undefined, turn);
  };
  return {
    send: (message, options) => {
      // The turn is taken before the first await, so that messages are sent in the order of the
      // calls.
      const turn = services.sending.sends.order.enter(audienceKey(audience));
      return operation(async () => {
        try {
          return await (await permitted(turn)).send(message, options);
        } finally {
          turn.leave();
        }
      });
    },
    preview: () => operation(async () => (await permitted()).preview()),
    close: (options) => operation(async () => (await permitted()).close(options)),
  };
}

/**
 * Checks whether the user is allowed in a channel.
 *
 * It reads the permissions again, because the handler can run for a long time.
 *
 * @throws RequestError if the user is not allowed, or if the connection was closed
 */
async function requireCurrentChannel(
  services: EventServices,
  row: ConnectionRow,
  name: unknown,
  context: DecisionContext,
) {
  checkChannelName(name);
  const channel = services.definitions.channels.require(name);
  for (let attempt = 1; attempt <= MAX_CHECKS; attempt++) {
    const checkedSequence = services.changedSubjects.sequence;
    const current = await services.store.connections.findById(row.id);
    if (!current)
      throw new ForbiddenError("The connection was closed while its handler ran. Connect again.", {
        reason: "connection",
      });
    requireChannelRules(context, channel, current);
    await runChannelAuthorize(context, channel, userOf(current, services.definitions.permissions, context));
    // The hooks can run for a long time, and the caller checks more rules with this row.
    const reading = { ...current, channels: [channel.name] };
    if (!services.changedSubjects.isStale(reading, checkedSequence)) return { channel, current };
  }
  throw tooManyChanges(`Channel "${channel.name}"`, "Send the message again.");
}
