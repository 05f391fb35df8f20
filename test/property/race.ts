import type { AccessChange } from "../../src/admin/change.ts";
import type { Audience } from "../../src/delivery/audience.ts";
import { type Ran, requirement } from "./app.ts";
import { audienceOf, counted, takeable } from "./chosen.ts";
import { Disagreement, same } from "./disagreement.ts";
import { issue, known, make, ofNow, sessionOf } from "./facts.ts";
import * as oracle from "./oracle.ts";
import type { Racer, Taking } from "./steps.ts";
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

/** A change that took rights away, the moment at which its call began, and the moment at which it had resolved. */
interface Taken {
  readonly by: Name;
  readonly since: number;
  at: number;
  readonly make: (facts: oracle.Facts) => void;
}

/** A send, or a message that may send, from the moment at which it began. */
interface Running {
  readonly at: Name;
  readonly since: number;
}

type Sending = Running & { readonly to: oracle.Audience; readonly required: oracle.Rule };
type Asking = Running & { readonly view: string; readonly name: string };

/**
 * Lets changes that take rights away race sends, messages and connects in two processes.
 *
 * Nothing gives rights meanwhile, so that who may not at one moment may not at any later one. What happens at a moment
 * must be allowed by the facts without everything whose call has resolved until then: in the process that made a change
 * at once, in the other one for all that begins afterwards.
 */
export class Race {
  readonly #world: World;
  readonly #tally: Tally;
  readonly #before: oracle.Facts;
  readonly #taken = new Set<Taken>();
  readonly #sends = new Map<number, Sending>();
  readonly #messages = new Map<number, Asking>();
  /** Frames that have started and not yet arrived. */
  readonly #underWay = new Set<{ readonly by: Name; readonly n: number; readonly id: string }>();
  /** Sockets that opened during the race. */
  readonly #arrivals: oracle.Socket[] = [];
  readonly #told: string[] = [];
  readonly #forbidden: string[] = [];
  #moment = 0;
  #number = 1_000_000;
  #random: number;

  constructor(world: World, waits: number, tally: Tally) {
    this.#world = world;
    this.#random = waits;
    this.#tally = tally;
    this.#before = structuredClone(world.facts);
  }

  /** @throws Disagreement with what happened, moment by moment */
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
      throw new Disagreement([(error as Error).message, ...this.#told].join("\n"), {
        cause: (error as Error).cause,
      });
    }
  }

  /** Everything that a racer needs and that may not race, and what it does when it starts. */
  async #prepared(racer: Racer): Promise<() => Promise<void>> {
    this.#tally.steps++;
    switch (racer.race) {
      case "take": {
        const change = this.#drawn(racer.taking);
        return () => this.#take(racer.by, racer.taking, change);
      }
      case "send":
        return () => this.#send(racer.at, audienceOf(this.#before, racer.to), racer.required);
      case "message":
        return () => this.#message(racer);
      case "connect":
        return this.#connecting(racer);
    }
  }

  #drawn(taking: Taking): oracle.Change {
    if (taking.kind === "out") {
      return taking.all ? { kind: "recheck", channel: taking.club } : { kind: "recheck", user: taking.user };
    }
    if (taking.kind !== "take") return ofNow(this.#world.facts, taking as oracle.Change);
    return counted(takeable(this.#before), taking.number) ?? { kind: "recheck", user: "ann" };
  }

  async #take(by: Name, taking: Taking, change: oracle.Change): Promise<void> {
    const strike = (facts: oracle.Facts) => {
      if (taking.kind === "out") facts.clubs.get(taking.club)?.delete(taking.user);
    };
    this.#note(`${by} begins ${JSON.stringify(taking.kind === "out" ? { ...taking, change } : change)}`);
    strike(this.#world.facts);
    const taken: Taken = {
      by,
      since: this.#moment,
      at: Number.POSITIVE_INFINITY,
      make: (facts) => {
        strike(facts);
        make(facts, change);
      },
    };
    this.#taken.add(taken);
    const { changed } = await this.#world.at(by).access.change(change as AccessChange);
    this.#note(`${by} has done ${changed ? "" : "nothing, not "}${JSON.stringify(change)}`);
    // The second of two equal changes took nothing. The process of the first one promises what is known of it.
    if (!changed) {
      this.#taken.delete(taken);
      return;
    }
    taken.at = this.#moment;
    // Whatever was on its way to somebody who lost the right to it has arrived.
    for (const { by: posting, n, id } of this.#underWay) {
      if (posting !== by || !this.#sends.has(n) || this.#mayHaveNow(this.#sends.get(n), id)) continue;
      this.#forbid(`frame ${n} still on its way to ${id}`, true);
    }
  }

  async #send(at: Name, to: oracle.Audience, required: oracle.Rule): Promise<void> {
    if (to !== "everyone" && "channel" in to && !oracle.exists(this.#before, to.channel)) return;
    const n = ++this.#number;
    this.#note(`${at} sends ${n} to ${JSON.stringify(to)}, requiring ${JSON.stringify(required)}`);
    this.#sends.set(n, { at, since: this.#moment, to, required });
    const report = await this.#world
      .at(at)
      .to(to as Audience, requirement(required))
      .send({ type: "note", n });
    const { recipients, sent, gone, denied, failed, unsent } = report;
    same("a report's parts", sent + gone + denied + failed + unsent, recipients);
  }

  async #message({ at, socket: number, words }: Extract<Racer, { race: "message" }>): Promise<void> {
    const connected = this.#before.sockets.filter((one) => one.connected);
    const socket = counted(connected, number);
    if (!socket) return;
    const n = ++this.#number;
    const { name, channel = "" } = words;
    const to = audienceOf(this.#before, words.to);
    this.#note(`${at} gets ${name} ${n} from ${socket.id}: ${JSON.stringify({ channel, to })}`);
    this.#messages.set(n, { at, since: this.#moment, view: socket.view, name });
    this.#sends.set(n, {
      at,
      since: this.#moment,
      to: name === "say" ? { channel } : to,
      required: words.required,
    });
    const fields = JSON.stringify({ ...words, to, n, handler: name, id: n });
    const { body } = await this.#world.event(at, `${socket.view}/default`, gatewayHeaders(socket.id), fields);
    this.#note(`${at} answers ${n}: ${body.ok}`);
    if (body.ok === true) this.#mustBeAllowed(`the answer to ${n}`, n, socket.id);
  }

  /** The token is fetched before the race, as a page does; the handshake races. */
  async #connecting({ at, view, user, channel }: Extract<Racer, { race: "connect" }>) {
    const login = sessionOf(this.#world.facts, `${user}-phone`);
    const page = pageHeaders(cookieOf(user, login));
    const { status, body } = await this.#world.event(at, "/api/ws-token", page);
    for (const facts of [this.#world.facts, this.#before]) known(facts, user);
    const id = `racing-${String(++this.#number)}`;
    if (status === 200) issue(this.#world.facts, body.token as string, { user, login });
    return async () => {
      if (status !== 200) return;
      const query = new URLSearchParams({ ws_token: body.token as string, ...(channel ? { channel } : {}) });
      this.#note(`${at} lets ${id} of ${user} knock at ${view}, ${channel ?? "no channel"}`);
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
        vanished: false,
      };
      this.#arrivals.push(socket);
      this.#world.facts.sockets.push(structuredClone(socket));
    };
  }

  #started({ name, socket, n = 0 }: Ran): void {
    this.#note(`${name} ${n} of ${socket} runs`);
    this.#tally.calls++;
    this.#mustBeAllowed(`${name} ${n}`, n, socket);
  }

  async #posting(arrived: Arrived, by: Name): Promise<void> {
    this.#note(`${by} posts: ${lineOf(arrived)}`);
    this.#tally.frames++;
    const { socket: id, frame } = arrived;
    const sending = this.#sends.get(frame.n as number);
    if (frame.type === "note" && !this.#mayHaveNow(sending, id))
      this.#forbid(`frame ${frame.n} to ${id}`, true);
    const post = { by, n: frame.n as number, id };
    this.#underWay.add(post);
    // A slow one holds up those behind it for the same socket.
    await this.#turns(this.#next(3) === 0 ? this.#next(60) : this.#next(6));
    this.#underWay.delete(post);
  }

  #mayHaveNow(sending: Sending | undefined, id: string): boolean {
    return this.#isAllowed(sending, (facts) => this.#mayHave(facts, sending, id));
  }

  #mayHave(facts: oracle.Facts, sending: Sending | undefined, id: string): boolean {
    const socket = this.#socket(facts, id);
    // One whose connect has not been answered yet gets nothing: the gateway says 410 until then.
    if (!socket) return true;
    if (!sending || !oracle.isLive(facts, socket)) return false;
    return hears(facts, socket, sending) && !this.#hasLeft(facts, socket, sending);
  }

  /** Out of a channel whose hook is asked when one joins: rechecked, one is not in it any more. */
  #hasLeft(facts: oracle.Facts, { user }: oracle.Socket, { to }: Sending): boolean {
    if (to === "everyone" || !("channel" in to)) return false;
    return oracle.mayEnter(this.#before, user, to.channel) && !oracle.mayEnter(facts, user, to.channel);
  }

  /** By rules: a handler's own hook was asked once, about the app's data of then. */
  #mustBeAllowed(what: string, n: number, id: string): void {
    const asking = this.#messages.get(n);
    if (!this.#isAllowed(asking, (facts) => this.#mayAsk(facts, asking, id))) this.#forbid(what, false);
  }

  #mayAsk(facts: oracle.Facts, asking: Asking | undefined, id: string): boolean {
    const socket = this.#socket(facts, id);
    const rule = asking && facts.views[asking.view]?.handlers[asking.name]?.rule;
    return (
      asking !== undefined &&
      rule !== undefined &&
      socket !== undefined &&
      oracle.isLive(facts, socket) &&
      oracle.mayUse(facts, socket.user, asking.view) &&
      oracle.passes(facts, socket.user, rule)
    );
  }

  #forbid(what: string, isFrame: boolean): void {
    if (isFrame) this.#tally.forbiddenFrames++;
    else this.#tally.forbiddenCalls++;
    this.#forbidden.push(what);
    this.#note(`  which is forbidden: ${what}`);
  }

  /**
   * Whether the facts allow something, without all that has been taken by now and that the process must know of.
   *
   * Two processes can take the same right from a user: one removes them from a group that the other one deletes. The
   * second change then finds no such member, and its process learns of the user from the first one's revocation only.
   */
  #isAllowed(running: Running | undefined, allows: (facts: oracle.Facts) => boolean): boolean {
    const isKnown = ({ by, at }: Taken) =>
      at <= (running?.since ?? 0) || (by === running?.at && at <= this.#moment);
    if (allows(this.#factsWithout(isKnown))) return true;
    const lastKnown = Math.max(...[...this.#taken].filter(isKnown).map(({ at }) => at));
    const wasTakenElsewhere = !allows(
      this.#factsWithout((taken) => !isKnown(taken) && taken.since <= lastKnown),
    );
    return wasTakenElsewhere && allows(this.#factsWithout(() => false));
  }

  #factsWithout(known: (taken: Taken) => boolean): oracle.Facts {
    const facts = structuredClone(this.#before);
    facts.sockets.push(...structuredClone(this.#arrivals));
    for (const taken of this.#taken) if (known(taken)) taken.make(facts);
    return facts;
  }

  #socket(facts: oracle.Facts, id: string): oracle.Socket | undefined {
    return facts.sockets.find((socket) => socket.id === id);
  }

  async #compareEnd(): Promise<void> {
    const seen = await this.#world.seen();
    const after = this.#factsWithout(() => true);
    const lines = seen.frames.map(lineOf);
    same("forbidden", this.#forbidden, []);
    same("errors", this.#world.errors, []);
    const wasLive = new Set(
      [...this.#before.sockets, ...this.#arrivals].filter(({ open }) => open).map(({ id }) => id),
    );
    const lost = after.sockets
      .filter(({ id, open, user, view }) => wasLive.has(id) && !(open && oracle.mayUse(after, user, view)))
      .map(({ id }) => id);
    same("sockets closed", [...new Set(seen.closed)].sort(), lost.sort());
    const told = lines
      .filter((line) => line.endsWith(" lost its view"))
      .map((line) => line.split(" ")[0] ?? "");
    same("sockets told that they lost their view", [...new Set(told)].sort(), lost);
    await this.#compareMemberships(after, new Set(lost));
    this.#compareSends(after, lines);
  }

  /** Nobody is in a channel who may not be: neither by joining at the last moment nor by staying. */
  async #compareMemberships(after: oracle.Facts, lost: ReadonlySet<string>): Promise<void> {
    const rows = await this.#world.query<{ id: string; channel: string | null }>(
      `select s.connection_id as id, m.channel from sallyport_connections s
       left join sallyport_memberships m on m.connection_key = s.id where s.closed_at is null`,
    );
    for (const { id, channel } of rows) {
      const socket = this.#socket(after, id);
      if (!socket || lost.has(id)) throw new Disagreement(`${id} is still open`);
      if (channel === null || oracle.mayEnter(after, socket.user, channel)) continue;
      const then = this.#socket(this.#before, id);
      const wasStale = then?.channels.includes(channel) && !oracle.mayEnter(this.#before, then.user, channel);
      if (!wasStale || !oracle.passesChannel(after, socket.user, channel))
        throw new Disagreement(`${id} is still in ${channel}`);
    }
  }

  /** Whoever may have a frame before and after the race has it, once. */
  #compareSends(after: oracle.Facts, lines: readonly string[]): void {
    for (const [n, sending] of this.#sends) {
      if (this.#messages.has(n)) continue;
      for (const socket of this.#before.sockets) {
        const now = this.#socket(after, socket.id);
        const keeps =
          now !== undefined &&
          oracle.isAddressed(this.#before, socket, sending.to) &&
          oracle.isAddressed(after, now, sending.to) &&
          hears(after, now, sending) &&
          !this.#hasLeft(after, now, sending);
        const times = lines.filter((line) => line === `${socket.id} hears ${n}`).length;
        if (keeps ? times !== 1 : times > 1) throw new Disagreement(`${socket.id} hears ${n} ${times} times`);
      }
    }
  }

  #note(what: string): void {
    this.#told.push(`${++this.#moment} ${what}`);
  }

  /** Some turns of the event loop, and a few of its promises' own. */
  async #turns(count: number): Promise<void> {
    for (let turn = this.#next(12); turn > 0; turn--) await undefined;
    for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** A number below another, the same again for the same story. */
  #next(below: number): number {
    this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) >>> 0;
    return (this.#random >>> 8) % below;
  }
}

const hears = (facts: oracle.Facts, socket: oracle.Socket, { to, required }: Sending): boolean =>
  oracle.mayHear(facts, socket, to, required) &&
  (to === "everyone" || !("permission" in to) || oracle.has(facts, socket.user, to.permission));
