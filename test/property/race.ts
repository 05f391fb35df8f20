import type { AccessChange } from "../../src/admin/change.ts";
import type { Audience } from "../../src/delivery/audience.ts";
import { type Ran, requirement } from "./app.ts";
import { expectSame, Mismatch } from "./mismatch.ts";
import * as model from "./model.ts";
import { applyChange, issueToken, sessionOf, userState, withCurrentSession } from "./model-changes.ts";
import { audienceOf, itemAt, removals } from "./selection.ts";
import type { Racer, Removal } from "./steps.ts";
import type { Tally } from "./tally.ts";
import {
  type Arrived,
  cookieOf,
  gatewayHeaders,
  lineOf,
  type Name,
  pageHeaders,
  type World,
} from "./world.ts";

/**
 * A change that removed access, the moment at which its call began, and the moment at which the
 * call resolved.
 */
interface Removed {
  readonly by: Name;
  readonly since: number;
  at: number;
  readonly make: (state: model.ModelState) => void;
}

/** A send, or a message whose handler can send, with the moment at which it began. */
interface Running {
  readonly at: Name;
  readonly since: number;
}

type Sending = Running & { readonly to: model.Audience; readonly required: model.Rule };
type RunningMessage = Running & { readonly view: string; readonly name: string };

/**
 * Runs changes that remove access concurrently with sends, messages and connects in two processes.
 *
 * Nothing adds access during a race, so a user who is not allowed at one moment is not allowed at a
 * later one. Each event must be allowed by the model without the changes whose calls have resolved.
 * The process that made a change applies it immediately. The other process applies it to everything
 * that begins afterwards.
 */
export class Race {
  readonly #world: World;
  readonly #tally: Tally;
  readonly #before: model.ModelState;
  readonly #removals = new Set<Removed>();
  readonly #sends = new Map<number, Sending>();
  readonly #messages = new Map<number, RunningMessage>();
  /** Frames that are in flight. */
  readonly #inFlight = new Set<{ readonly by: Name; readonly n: number; readonly id: string }>();
  /** Sockets that opened during the race. */
  readonly #arrivals: model.Socket[] = [];
  readonly #log: string[] = [];
  readonly #forbidden: string[] = [];
  #moment = 0;
  #number = 1_000_000;
  #random: number;

  constructor(world: World, waits: number, tally: Tally) {
    this.#world = world;
    this.#random = waits;
    this.#tally = tally;
    this.#before = structuredClone(world.state);
  }

  /** @throws Mismatch with the events of the race in order */
  async run(racers: readonly Racer[]): Promise<void> {
    const ready = [];
    for (const racer of racers) ready.push(await this.#prepared(racer));
    this.#world.hooks = {
      pause: () => this.#turns(this.#next(3) === 0 ? this.#next(60) : this.#next(4)),
      ran: (ran) => this.#started(ran),
      posting: (arrived, by) => this.#posting(arrived, by as Name),
    };
    await Promise.all(
      ready.map(async (start, index) => {
        await this.#turns(racers[index]?.after ?? 0);
        await start();
      }),
    );
    this.#world.hooks = {};
    for (const name of ["A", "B"] as const) await this.#world.at(name).enforce();
    try {
      await this.#compareEnd();
    } catch (error) {
      throw new Mismatch([(error as Error).message, ...this.#log].join("\n"), {
        cause: (error as Error).cause,
      });
    }
  }

  /** Does the preparation of a racer that is not part of the race, and returns the racing part. */
  async #prepared(racer: Racer): Promise<() => Promise<void>> {
    this.#tally.steps++;
    switch (racer.race) {
      case "remove": {
        const change = this.#resolved(racer.removal);
        return () => this.#remove(racer.by, racer.removal, change);
      }
      case "send":
        return () => this.#send(racer.at, audienceOf(this.#before, racer.to), racer.required);
      case "message":
        return () => this.#message(racer);
      case "connect":
        return this.#connecting(racer);
    }
  }

  #resolved(removal: Removal): model.Change {
    if (removal.kind === "out") {
      return removal.all
        ? { kind: "recheck", channel: removal.club }
        : { kind: "recheck", user: removal.user };
    }
    if (removal.kind !== "remove-existing")
      return withCurrentSession(this.#world.state, removal as model.Change);
    return itemAt(removals(this.#before), removal.number) ?? { kind: "recheck", user: "ann" };
  }

  async #remove(by: Name, removal: Removal, change: model.Change): Promise<void> {
    const removeFromClub = (state: model.ModelState) => {
      if (removal.kind === "out") state.clubs.get(removal.club)?.delete(removal.user);
    };
    this.#note(`${by} begins ${JSON.stringify(removal.kind === "out" ? { ...removal, change } : change)}`);
    removeFromClub(this.#world.state);
    const removed: Removed = {
      by,
      since: this.#moment,
      at: Number.POSITIVE_INFINITY,
      make: (state) => {
        removeFromClub(state);
        applyChange(state, change);
      },
    };
    this.#removals.add(removed);
    const { changed } = await this.#world.at(by).access.change(change as AccessChange);
    this.#note(`${by} finished ${changed ? "" : "without effect: "}${JSON.stringify(change)}`);
    // The second of two equal changes removed nothing. Only the process of the first one guarantees
    // its effect.
    if (!changed) {
      this.#removals.delete(removed);
      return;
    }
    removed.at = this.#moment;
    // Frames in flight to recipients that lost access have arrived by now.
    for (const { by: posting, n, id } of this.#inFlight) {
      if (posting !== by || !this.#sends.has(n) || this.#canReceiveNow(this.#sends.get(n), id)) continue;
      this.#forbid(`frame ${n} still in flight to ${id}`, true);
    }
  }

  async #send(at: Name, to: model.Audience, required: model.Rule): Promise<void> {
    if (to !== "everyone" && "channel" in to && !model.exists(this.#before, to.channel)) return;
    const n = ++this.#number;
    this.#note(`${at} sends ${n} to ${JSON.stringify(to)}, requiring ${JSON.stringify(required)}`);
    this.#sends.set(n, { at, since: this.#moment, to, required });
    const report = await this.#world
      .at(at)
      .to(to as Audience, requirement(required))
      .send({ type: "note", n });
    const { recipients, sent, gone, denied, failed, unsent } = report;
    expectSame("sum of the counts in a report", sent + gone + denied + failed + unsent, recipients);
  }

  async #message({ at, socket: number, fields: input }: Extract<Racer, { race: "message" }>): Promise<void> {
    const connected = this.#before.sockets.filter((one) => one.connected);
    const socket = itemAt(connected, number);
    if (!socket) return;
    const n = ++this.#number;
    const { name, channel = "" } = input;
    const to = audienceOf(this.#before, input.to);
    this.#note(`${at} receives ${name} ${n} from ${socket.id}: ${JSON.stringify({ channel, to })}`);
    this.#messages.set(n, { at, since: this.#moment, view: socket.view, name });
    this.#sends.set(n, {
      at,
      since: this.#moment,
      to: name === "say" ? { channel } : to,
      required: input.required,
    });
    const fields = JSON.stringify({ ...input, to, n, handler: name, id: n });
    const { body } = await this.#world.event(at, `${socket.view}/default`, gatewayHeaders(socket.id), fields);
    this.#note(`${at} answers ${n}: ${body.ok}`);
    if (body.ok === true) this.#mustBeAllowed(`the answer to ${n}`, n, socket.id);
  }

  /** The token is fetched before the race, as a page does. Only the handshake races. */
  async #connecting({ at, view, user, channel }: Extract<Racer, { race: "connect" }>) {
    const login = sessionOf(this.#world.state, `${user}-phone`);
    const page = pageHeaders(cookieOf(user, login));
    const { status, body } = await this.#world.event(at, "/api/ws-token", page);
    for (const state of [this.#world.state, this.#before]) userState(state, user);
    const id = `racing-${String(++this.#number)}`;
    if (status === 200) issueToken(this.#world.state, body.token as string, { user, login });
    return async () => {
      if (status !== 200) return;
      const query = new URLSearchParams({ ws_token: body.token as string, ...(channel ? { channel } : {}) });
      this.#note(`${at} receives a connect of ${id} by ${user} to ${view}, ${channel ?? "no channel"}`);
      const headers = { ...page, ...gatewayHeaders(id) };
      const answer = await this.#world.event(at, `${view}/connect?${query}`, headers);
      this.#note(`${at} answers ${id}: ${answer.status}`);
      if (answer.status !== 200) return;
      const start = channel ?? this.#world.start(view);
      const socket = {
        id,
        view,
        user,
        login,
        channels: start === undefined ? [] : [start],
        since: this.#before.now,
        open: true,
        connected: true,
        lost: false,
      };
      this.#arrivals.push(socket);
      this.#world.state.sockets.push(structuredClone(socket));
    };
  }

  #started({ name, socket, n = 0 }: Ran): void {
    this.#note(`${name} ${n} of ${socket} is called`);
    this.#tally.calls++;
    this.#mustBeAllowed(`${name} ${n}`, n, socket);
  }

  async #posting(arrived: Arrived, by: Name): Promise<void> {
    this.#note(`${by} posts: ${lineOf(arrived)}`);
    this.#tally.frames++;
    const { socket: id, frame } = arrived;
    const sending = this.#sends.get(frame.n as number);
    if (frame.type === "note" && !this.#canReceiveNow(sending, id))
      this.#forbid(`frame ${frame.n} to ${id}`, true);
    const post = { by, n: frame.n as number, id };
    this.#inFlight.add(post);
    // A slow post delays the later posts to the same socket.
    await this.#turns(this.#next(3) === 0 ? this.#next(60) : this.#next(6));
    this.#inFlight.delete(post);
  }

  #canReceiveNow(sending: Sending | undefined, id: string): boolean {
    return this.#isAllowed(sending, (state) => this.#canReceive(state, sending, id));
  }

  #canReceive(state: model.ModelState, sending: Sending | undefined, id: string): boolean {
    const socket = this.#socket(state, id);
    // A socket whose connect is still pending receives nothing. The gateway answers 410 until then.
    if (!socket) return true;
    if (!sending || !model.isLive(state, socket)) return false;
    return canReceiveSend(state, socket, sending) && !this.#hasLeft(state, socket, sending);
  }

  /** Returns whether a socket left a channel with a join hook, because its user was rechecked. */
  #hasLeft(state: model.ModelState, { user }: model.Socket, { to }: Sending): boolean {
    if (to === "everyone" || !("channel" in to)) return false;
    return model.canJoin(this.#before, user, to.channel) && !model.canJoin(state, user, to.channel);
  }

  /** Checks the rules only. The hook of the handler was called once, with the data of that time. */
  #mustBeAllowed(what: string, n: number, id: string): void {
    const message = this.#messages.get(n);
    if (!this.#isAllowed(message, (state) => this.#canCall(state, message, id))) this.#forbid(what, false);
  }

  #canCall(state: model.ModelState, message: RunningMessage | undefined, id: string): boolean {
    const socket = this.#socket(state, id);
    const rule = message && state.views[message.view]?.handlers[message.name]?.rule;
    return (
      message !== undefined &&
      rule !== undefined &&
      socket !== undefined &&
      model.isLive(state, socket) &&
      model.canUseView(state, socket.user, message.view) &&
      model.passes(state, socket.user, rule)
    );
  }

  #forbid(what: string, isFrame: boolean): void {
    if (isFrame) this.#tally.forbiddenFrames++;
    else this.#tally.forbiddenCalls++;
    this.#forbidden.push(what);
    this.#note(`  which is forbidden: ${what}`);
  }

  /**
   * Returns whether the model allows an event, without the changes that the process must know of.
   *
   * Two processes can remove the same permission. For example, one removes a user from a group
   * while the other deletes the group. The second change then finds no such member, so its process
   * learns of that user only from the revocation of the first process.
   */
  #isAllowed(running: Running | undefined, allows: (state: model.ModelState) => boolean): boolean {
    const isKnown = ({ by, at }: Removed) =>
      at <= (running?.since ?? 0) || (by === running?.at && at <= this.#moment);
    if (allows(this.#factsWithout(isKnown))) return true;
    const lastKnown = Math.max(...[...this.#removals].filter(isKnown).map(({ at }) => at));
    const wasRemovedElsewhere = !allows(
      this.#factsWithout((removed) => !isKnown(removed) && removed.since <= lastKnown),
    );
    return wasRemovedElsewhere && allows(this.#factsWithout(() => false));
  }

  #factsWithout(known: (removed: Removed) => boolean): model.ModelState {
    const state = structuredClone(this.#before);
    state.sockets.push(...structuredClone(this.#arrivals));
    for (const removed of this.#removals) if (known(removed)) removed.make(state);
    return state;
  }

  #socket(state: model.ModelState, id: string): model.Socket | undefined {
    return state.sockets.find((socket) => socket.id === id);
  }

  async #compareEnd(): Promise<void> {
    const seen = await this.#world.observed();
    const after = this.#factsWithout(() => true);
    const lines = seen.frames.map(lineOf);
    expectSame("forbidden", this.#forbidden, []);
    expectSame("errors", this.#world.errors, []);
    const wasLive = new Set(
      [...this.#before.sockets, ...this.#arrivals].filter(({ open }) => open).map(({ id }) => id),
    );
    const lost = after.sockets
      .filter(({ id, open, user, view }) => wasLive.has(id) && !(open && model.canUseView(after, user, view)))
      .map(({ id }) => id);
    expectSame("sockets closed", [...new Set(seen.closed)].sort(), lost.sort());
    const notified = lines
      .filter((line) => line.endsWith(" lost its view"))
      .map((line) => line.split(" ")[0] ?? "");
    expectSame("sockets that were notified that they lost their view", [...new Set(notified)].sort(), lost);
    await this.#compareMemberships(after, new Set(lost));
    this.#compareSends(after, lines);
  }

  /** No socket stays in a channel that its user cannot enter, whether it joined late or stayed. */
  async #compareMemberships(after: model.ModelState, lost: ReadonlySet<string>): Promise<void> {
    const rows = await this.#world.query<{ id: string; channel: string | null }>(
      `select s.connection_id as id, m.channel from sallyport_connections s
       left join sallyport_memberships m on m.connection_key = s.id where s.closed_at is null`,
    );
    for (const { id, channel } of rows) {
      const socket = this.#socket(after, id);
      if (!socket || lost.has(id)) throw new Mismatch(`${id} is still open`);
      if (channel === null || model.canJoin(after, socket.user, channel)) continue;
      const then = this.#socket(this.#before, id);
      const wasStale = then?.channels.includes(channel) && !model.canJoin(this.#before, then.user, channel);
      if (!wasStale || !model.passesChannel(after, socket.user, channel))
        throw new Mismatch(`${id} is still in ${channel}`);
    }
  }

  /**
   * A socket that is allowed to receive a frame before and after the race receives it exactly once.
   */
  #compareSends(after: model.ModelState, lines: readonly string[]): void {
    for (const [n, sending] of this.#sends) {
      if (this.#messages.has(n)) continue;
      for (const socket of this.#before.sockets) {
        const now = this.#socket(after, socket.id);
        const keeps =
          now !== undefined &&
          model.isAddressed(this.#before, socket, sending.to) &&
          model.isAddressed(after, now, sending.to) &&
          canReceiveSend(after, now, sending) &&
          !this.#hasLeft(after, now, sending);
        const times = lines.filter((line) => line === `${socket.id} receives ${n}`).length;
        if (keeps ? times !== 1 : times > 1) throw new Mismatch(`${socket.id} receives ${n} ${times} times`);
      }
    }
  }

  #note(what: string): void {
    this.#log.push(`${++this.#moment} ${what}`);
  }

  /** Yields for some turns of the event loop, and for a few microtasks. */
  async #turns(count: number): Promise<void> {
    for (let turn = this.#next(12); turn > 0; turn--) await undefined;
    for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** Returns a number below a bound. The same scenario gives the same numbers. */
  #next(below: number): number {
    this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) >>> 0;
    return (this.#random >>> 8) % below;
  }
}

const canReceiveSend = (state: model.ModelState, socket: model.Socket, { to, required }: Sending): boolean =>
  model.canReceive(state, socket, to, required) &&
  (to === "everyone" || !("permission" in to) || model.has(state, socket.user, to.permission));
