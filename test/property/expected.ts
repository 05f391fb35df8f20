import { PERMISSIONS, type Ran } from "./app.ts";
import * as model from "./model.ts";
import { type Consequence, removeExpired } from "./model-changes.ts";
import type { MessageFields } from "./steps.ts";

/** The expected answers to a denied message and to a malformed message. */
export const DENIED = Symbol("denied");
export const MALFORMED = Symbol("malformed");

/** Time after which another process can claim the unfinished work of a process that was killed. */
const LEASE_MS = 15_000;

/** The effects that a step must have. */
export interface Effects {
  readonly ran: Ran[];
  /** One line for each frame, such as `socket-0007 receives 12` or `socket-0007 lost rooms/red`. */
  readonly lines: string[];
  readonly closed: string[];
}

/**
 * Computes the expected effects of each step from the model. Changes the model as the library must
 * have changed its rows.
 */
export class Expected {
  readonly #state: model.ModelState;
  #wanted: Effects = { ran: [], lines: [], closed: [] };
  /** Consequences of changes by processes that were killed before they enforced them. */
  #orphans: { readonly due: number; readonly consequence: Consequence }[] = [];

  /** The channels that sockets have lost, as `socket channel`. */
  readonly #lost = new Map<string, { readonly socket: model.Socket; readonly channel: string }>();
  /** Those that their users were allowed to join when the last step ended. */
  #returned = new Set<string>();

  constructor(state: model.ModelState) {
    this.#state = state;
  }

  /**
   * Returns whether a socket may be notified that it can join a channel again. A notice is sent after
   * the change, so access may also have existed before this step.
   */
  mayReturn(socket: string, channel: string): boolean {
    const key = `${socket} ${channel}`;
    return this.#returned.has(key) || this.#returnedNow().has(key);
  }

  #returnedNow(): Set<string> {
    const returned = [...this.#lost].filter(
      ([, { socket, channel }]) =>
        model.canUseView(this.#state, socket.user, socket.view) &&
        model.canJoin(this.#state, socket.user, channel),
    );
    return new Set(returned.map(([key]) => key));
  }

  /** Returns the effects that are expected since the last call. */
  take(): Effects {
    const wanted = this.#wanted;
    this.#wanted = { ran: [], lines: [], closed: [] };
    return wanted;
  }

  /** Ends a step. */
  endStep(): void {
    this.#returned = this.#returnedNow();
  }

  orphan(consequence: Consequence): void {
    this.#orphans.push({ due: this.#state.now + LEASE_MS, consequence });
  }

  /**
   * Applies what the next enforcement must do: expired grants, and the unfinished work of killed
   * processes.
   */
  enforced(): number {
    const due = this.#orphans.filter((orphan) => orphan.due < this.#state.now);
    this.#orphans = this.#orphans.filter((orphan) => orphan.due >= this.#state.now);
    return this.applied([...removeExpired(this.#state), ...due.map(({ consequence }) => consequence)]);
  }

  /** Applies consequences, and returns the number of sockets that lost a view or a channel. */
  applied(consequences: readonly Consequence[]): number {
    let lost = 0;
    for (const { ended, sockets } of consequences) {
      for (const socket of sockets(this.#state)) {
        if (ended || !model.canUseView(this.#state, socket.user, socket.view)) this.#lostView(socket);
        else if (!this.#lostChannels(socket)) continue;
        lost++;
      }
    }
    return lost;
  }

  #lostView(socket: model.Socket): void {
    if (!socket.lost) this.#wanted.lines.push(`${socket.id} lost its view`);
    this.closed(socket);
  }

  #lostChannels(socket: model.Socket): boolean {
    const lost = socket.channels.filter((name) => !model.canJoin(this.#state, socket.user, name));
    socket.channels = socket.channels.filter((name) => !lost.includes(name));
    for (const channel of lost) this.#lost.set(`${socket.id} ${channel}`, { socket, channel });
    if (!socket.lost) this.#wanted.lines.push(...lost.map((name) => `${socket.id} lost ${name}`));
    return lost.length > 0;
  }

  /** Closes the row, and the socket if the gateway still has it. */
  closed(socket: model.Socket): void {
    socket.open = false;
    if (socket.lost) return;
    this.#wanted.closed.push(socket.id);
    Object.assign(socket, { connected: false, channels: [] });
  }

  /** Adds the frames that a send must deliver, and returns the expected report. */
  sent(to: model.Audience, required: model.Rule, n: number) {
    const addressed = this.#state.sockets.filter((socket) => model.isAddressed(this.#state, socket, to));
    const permitted = addressed.filter((socket) => model.canReceive(this.#state, socket, to, required));
    const there = permitted.filter(({ lost }) => !lost);
    for (const socket of permitted) if (socket.lost) socket.open = false;
    this.#wanted.lines.push(...there.map(({ id }) => `${id} receives ${n}`));
    return {
      recipients: addressed.length,
      sent: there.length,
      gone: permitted.length - there.length,
      denied: addressed.length - permitted.length,
      failed: 0,
      unsent: 0,
      failures: {},
      cursor: null,
    };
  }

  /** Returns the expected answer to a message, and applies what its handler does to the model. */
  answered(socket: model.Socket, view: string, input: MessageFields, to: model.Audience, n: number): unknown {
    const { name, club } = input;
    if (!model.isLive(this.#state, socket)) return DENIED;
    if (!model.canCall(this.#state, socket.user, view, name, club)) return DENIED;
    this.#wanted.ran.push({ name, socket: socket.id, n });
    return this.#ran(socket, input, to, n);
  }

  #ran(socket: model.Socket, input: MessageFields, to: model.Audience, n: number): unknown {
    const { name, channel, required, permission } = input;
    const { user } = socket;
    switch (name) {
      case "look": {
        const permissions = PERMISSIONS.filter((one) => model.has(this.#state, user, one));
        return { user, permissions, channels: this.#permittedChannels(socket) };
      }
      case "enter":
      case "move":
        return this.#joined(
          socket,
          channel,
          name === "move" ? this.#permittedChannels(socket).at(-1) : undefined,
        );
      case "exit": {
        const left = channel ?? this.#permittedChannels(socket).at(-1);
        socket.channels = socket.channels.filter((one) => one !== left);
        return undefined;
      }
      case "say":
        return channel === undefined ? MALFORMED : this.#sendAllowed(user, { channel }, required, n);
      case "tell":
        return this.#sendAllowed(user, to, required, n);
      case "check":
        if (channel === undefined) return MALFORMED;
        return model.canJoin(this.#state, user, channel) ? undefined : DENIED;
      case "demand":
        return model.has(this.#state, user, permission) ? user : DENIED;
      default:
        return name;
    }
  }

  /**
   * Joining also checks the view of the connection, even if the message used the route of another
   * view.
   */
  #joined(socket: model.Socket, channel: string | undefined, left: string | undefined): unknown {
    if (channel === undefined) return MALFORMED;
    const { user, view } = socket;
    if (!model.canJoin(this.#state, user, channel) || !model.canUseView(this.#state, user, view))
      return DENIED;
    const others = socket.channels.filter((one) => one !== left && one !== channel);
    socket.channels = [...others, channel];
    return undefined;
  }

  #sendAllowed(user: string | null, to: model.Audience, required: model.Rule, n: number): unknown {
    const isToChannel = to !== "everyone" && "channel" in to;
    if (isToChannel && !model.canSend(this.#state, user, to.channel)) return DENIED;
    return this.sent(to, required, n);
  }

  #permittedChannels({ channels, user }: model.Socket): readonly string[] {
    return channels.filter((name) => model.passesChannel(this.#state, user, name));
  }
}
