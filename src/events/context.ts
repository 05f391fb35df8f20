import { checkChannelName } from "../access/channels.ts";
import { newReference, refusal, type Trail } from "../access/decisions.ts";
import { askChannel, demandChannel, demandSending } from "../access/guard.ts";
import { judgeAll } from "../access/rules.ts";
import { userOf } from "../access/user.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import type { SendPlace } from "../delivery/send-order.ts";
import { RefusedError } from "../errors.ts";
import { ReportedPromise } from "../reported-promise.ts";
import type { SessionRow, SessionWithChannels } from "../sessions/sessions.ts";
import type { MessageContext, Outlet, Session, User } from "../view/context.ts";
import { refusalOf } from "./answer.ts";
import { givenRequirement, outletTo } from "./deliver.ts";
import { joinChannel } from "./join-channel.ts";
import type { Rooms } from "./rooms.ts";
import { orderOf, underWay } from "./send.ts";

/**
 * A session as authors see it. Its channels change while a handler joins and leaves.
 *
 * A class, because V8 makes a hidden class for each object literal with accessors, which cost more than any other part of a message.
 */
export class LiveSession implements Session {
  readonly id: string;
  readonly connectionId: string;
  readonly gateway: string;
  readonly view: string;
  readonly connectedAt: number;
  #channels: readonly string[];

  /** @param channels those that the user may be in now; the row may know of others, which an eviction will end */
  constructor(
    row: Pick<SessionWithChannels, "id" | "connectionId" | "view" | "connectedAt">,
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

  toJSON(): Session {
    const { id, connectionId, gateway, view, connectedAt, channel, channels } = this;
    return { id, connectionId, gateway, view, connectedAt, channel, channels };
  }

  static joined(session: LiveSession, channel: string): void {
    session.#channels = [...session.#channels.filter((other) => other !== channel), channel];
  }

  static left(session: LiveSession, channel: string): void {
    session.#channels = session.#channels.filter((other) => other !== channel);
  }
}

/** The channels of a session whose rules its user meets with the rights that were read together with it. */
export function permittedChannels(rooms: Rooms, row: SessionWithChannels): readonly string[] {
  return row.channels.filter((name) => {
    const channel = rooms.channels.match(name);
    return channel !== undefined && judgeAll(channel.rules, row).allowed;
  });
}

/**
 * Returns what a handler receives. Each of its operations checks the permissions again.
 *
 * @param untilEnded resolves when the handler has ended. A rejection that no code has handled by then is reported
 */
export function messageContext(
  rooms: Rooms,
  row: SessionRow,
  session: LiveSession,
  user: User,
  body: unknown,
  trail: Trail,
  untilEnded: Promise<void>,
): MessageContext {
  const operation: Operation = (work) => {
    const report = (error: unknown) => reportRejection(rooms, error, trail);
    const track = (reporting: Promise<void>) => void underWay(rooms, reporting);
    return ReportedPromise.of(underWay(rooms, work()), { report, track, until: untilEnded });
  };
  return {
    user,
    session,
    body,
    join: (channel) =>
      operation(async () => {
        await joinChannel(rooms, row, channel, trail);
        LiveSession.joined(session, channel);
      }),
    leave: (channel = session.channel) =>
      operation(async () => {
        if (channel === undefined) return;
        await rooms.memberships.leaveOne(row.id, channel);
        LiveSession.left(session, channel);
      }),
    move: (channel) =>
      operation(async () => {
        const leaving = session.channel;
        await joinChannel(rooms, row, channel, trail, leaving);
        if (leaving !== undefined) LiveSession.left(session, leaving);
        LiveSession.joined(session, channel);
      }),
    requireChannel: (channel) =>
      operation(async () => {
        await channelNow(rooms, row, channel, trail);
      }),
    to: (audience, ...requirement) =>
      outletFor(rooms, row, audience, givenRequirement(requirement), trail, operation),
  };
}

/** Runs an operation of a handler. Its rejection is reported if the handler does not await it. */
type Operation = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** Reports an error that no caller received: a denial as a decision, any other error to `onError`. */
function reportRejection(rooms: Rooms, error: unknown, trail: Trail): void {
  const known = refusalOf(rooms.database.failure(error));
  if (known instanceof RefusedError) rooms.keep(refusal(trail, known, newReference()));
  else rooms.onError(known, `${trail.path}: a promise that handler ${trail.handler} did not await`);
}

/** A send on a user's behalf: to a channel, only if the user meets its rules at that moment. */
function outletFor(
  rooms: Rooms,
  row: SessionRow,
  audience: Audience,
  requirement: Requirement,
  trail: Trail,
  operation: Operation,
): Outlet {
  const permitted = async (place?: SendPlace): Promise<Outlet> => {
    if (typeof audience === "object" && audience !== null && "channel" in audience) {
      const { channel, now } = await channelNow(rooms, row, audience.channel, trail);
      demandSending(trail, channel, now);
    }
    return outletTo(rooms, audience, requirement, row.userId ?? undefined, place);
  };
  return {
    send: (message, options) => {
      // The place is taken before the first await, so that sends go out in the order of the calls.
      const place = rooms.sendOrder.enter(orderOf(audience));
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
async function channelNow(rooms: Rooms, row: SessionRow, name: unknown, trail: Trail) {
  checkChannelName(name);
  const channel = rooms.channels.require(name);
  const now = await rooms.sessions.findById(rooms.database.db, row.id);
  if (!now) throw new RefusedError("The session ended while its handler ran.", { reason: "session" });
  demandChannel(trail, channel, now);
  await askChannel(trail, channel, userOf(now, rooms.permissions, trail));
  return { channel, now };
}
