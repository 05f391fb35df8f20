import { PERMISSIONS, type Ran } from "./app.ts";
import { type Consequence, sweep } from "./facts.ts";
import * as oracle from "./oracle.ts";
import type { Words } from "./steps.ts";

/** A message that must be refused, and one that is no message. */
export const REFUSED = Symbol("denied");
export const MALFORMED = Symbol("malformed");

/** After so long another process may claim what a dead one left behind. */
const LEASE_MS = 15_000;

/** What must be seen of a step. */
export interface Wanted {
  readonly ran: Ran[];
  /** One for each frame: `socket-0007 hears 12`, `socket-0007 lost rooms/red`. */
  readonly lines: string[];
  readonly closed: string[];
}

/** Draws from the facts what must be seen, and changes them as the core must have changed its rows. */
export class Expected {
  readonly #facts: oracle.Facts;
  #wanted: Wanted = { ran: [], lines: [], closed: [] };
  /** What processes that died left undone. */
  #orphans: { readonly due: number; readonly consequence: Consequence }[] = [];

  constructor(facts: oracle.Facts) {
    this.#facts = facts;
  }

  /** What must have been seen since the last call. */
  take(): Wanted {
    const wanted = this.#wanted;
    this.#wanted = { ran: [], lines: [], closed: [] };
    return wanted;
  }

  orphan(consequence: Consequence): void {
    this.#orphans.push({ due: this.#facts.now + LEASE_MS, consequence });
  }

  /** What whoever enforces now must do: for what has ended by itself, and for what the dead left behind. */
  enforced(): number {
    const due = this.#orphans.filter((orphan) => orphan.due < this.#facts.now);
    this.#orphans = this.#orphans.filter((orphan) => orphan.due >= this.#facts.now);
    return this.drawn([...sweep(this.#facts), ...due.map(({ consequence }) => consequence)]);
  }

  /** @returns how many sockets lost something */
  drawn(consequences: readonly Consequence[]): number {
    let lost = 0;
    for (const { ended, sockets } of consequences) {
      for (const socket of sockets(this.#facts)) {
        if (ended || !oracle.mayUse(this.#facts, socket.user, socket.view)) this.#evicted(socket);
        else if (!this.#leftLost(socket)) continue;
        lost++;
      }
    }
    return lost;
  }

  #evicted(socket: oracle.Socket): void {
    if (!socket.vanished) this.#wanted.lines.push(`${socket.id} lost its view`);
    this.closed(socket);
  }

  #leftLost(socket: oracle.Socket): boolean {
    const lost = socket.channels.filter((name) => !oracle.mayEnter(this.#facts, socket.user, name));
    socket.channels = socket.channels.filter((name) => !lost.includes(name));
    if (!socket.vanished) this.#wanted.lines.push(...lost.map((name) => `${socket.id} lost ${name}`));
    return lost.length > 0;
  }

  /** The row is closed; and so is the socket, where it is still there to be closed. */
  closed(socket: oracle.Socket): void {
    socket.open = false;
    if (socket.vanished) return;
    this.#wanted.closed.push(socket.id);
    Object.assign(socket, { connected: false, channels: [] });
  }

  /** Who must be given a frame now, and the report that must be given of it. */
  sent(to: oracle.Audience, required: oracle.Rule, n: number) {
    const addressed = this.#facts.sockets.filter((socket) => oracle.isAddressed(this.#facts, socket, to));
    const permitted = addressed.filter((socket) => oracle.mayHear(this.#facts, socket, to, required));
    const there = permitted.filter(({ vanished }) => !vanished);
    for (const socket of permitted) if (socket.vanished) socket.open = false;
    this.#wanted.lines.push(...there.map(({ id }) => `${id} hears ${n}`));
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

  /** What a message must be answered with, and what its handler does to the facts. */
  answered(socket: oracle.Socket, view: string, words: Words, to: oracle.Audience, n: number): unknown {
    const { name, club } = words;
    if (!oracle.isLive(this.#facts, socket)) return REFUSED;
    if (!oracle.mayCall(this.#facts, socket.user, view, name, club)) return REFUSED;
    this.#wanted.ran.push({ name, socket: socket.id, n });
    return this.#ran(socket, words, to, n);
  }

  #ran(socket: oracle.Socket, words: Words, to: oracle.Audience, n: number): unknown {
    const { name, channel, required, permission } = words;
    const { user } = socket;
    switch (name) {
      case "look": {
        const permissions = PERMISSIONS.filter((one) => oracle.has(this.#facts, user, one));
        return { user, permissions, channels: this.#passing(socket) };
      }
      case "enter":
      case "move":
        return this.#joined(socket, channel, name === "move" ? this.#passing(socket).at(-1) : undefined);
      case "exit": {
        const left = channel ?? this.#passing(socket).at(-1);
        socket.channels = socket.channels.filter((one) => one !== left);
        return undefined;
      }
      case "say":
        return channel === undefined ? MALFORMED : this.#spoken(user, { channel }, required, n);
      case "tell":
        return this.#spoken(user, to, required, n);
      case "check":
        if (channel === undefined) return MALFORMED;
        return oracle.mayEnter(this.#facts, user, channel) ? undefined : REFUSED;
      case "demand":
        return oracle.has(this.#facts, user, permission) ? user : REFUSED;
      default:
        return name;
    }
  }

  /** Joining asks the session's own view as well, whatever route the message took. */
  #joined(socket: oracle.Socket, channel: string | undefined, left: string | undefined): unknown {
    if (channel === undefined) return MALFORMED;
    const { user, view } = socket;
    if (!oracle.mayEnter(this.#facts, user, channel) || !oracle.mayUse(this.#facts, user, view))
      return REFUSED;
    const others = socket.channels.filter((one) => one !== left && one !== channel);
    socket.channels = [...others, channel];
    return undefined;
  }

  #spoken(user: string | null, to: oracle.Audience, required: oracle.Rule, n: number): unknown {
    const isSpeech = to !== "everyone" && "channel" in to;
    if (isSpeech && !oracle.maySpeak(this.#facts, user, to.channel)) return REFUSED;
    return this.sent(to, required, n);
  }

  #passing({ channels, user }: oracle.Socket): readonly string[] {
    return channels.filter((name) => oracle.passesChannel(this.#facts, user, name));
  }
}
