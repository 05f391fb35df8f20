import type { AccessChange } from "../../src/admin/change.ts";
import type { Decision } from "../../src/audit/decision.ts";
import type { Audience } from "../../src/delivery/audience.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { type Design, requirement } from "./app.ts";
import { audienceOf, counted, takeable } from "./chosen.ts";
import { Disagreement, same } from "./disagreement.ts";
import { Expected, MALFORMED, REFUSED } from "./expected.ts";
import { consequenceOf, endedSessions, issue, known, make, ofNow, sessionOf, spend } from "./facts.ts";
import { judgeAgain } from "./judged-again.ts";
import * as oracle from "./oracle.ts";
import { ask, comparePreview, compareRows, effective } from "./questions.ts";
import type { Draft, Knock, Step, Wanted } from "./steps.ts";
import type { Tally } from "./tally.ts";
import {
  type Answer,
  cookieOf,
  gatewayHeaders,
  Killed,
  lineOf,
  type Name,
  pageHeaders,
  World,
} from "./world.ts";

/** How long a 410 may mean that a socket is still arriving; one that vanishes is older, so that nobody waits. */
const ARRIVING_MS = 29_000;
/** Of so many steps, one's references are followed to the decisions that they lead to. */
const FOLLOWED = 5;

/** Plays steps in a world, and compares everything that can be seen with the oracle. */
export class Play {
  /** One line for each step, with what came of it. */
  readonly told: string[] = [];
  readonly world: World;
  readonly #tally: Tally;
  readonly #expected: Expected;
  /** Tokens are tried again when they have been spent, have ended, or died with their login. */
  readonly #tokens: oracle.Token[] = [];
  readonly #followed = new Set<string>();
  #number = 0;

  private constructor(world: World, tally: Tally) {
    this.world = world;
    this.#tally = tally;
    this.#expected = new Expected(world.facts);
  }

  static async open(design: Design, sample: boolean, tally: Tally): Promise<Play> {
    return new Play(await World.open(design, sample), tally);
  }

  async step(step: Step): Promise<void> {
    this.#tally.steps++;
    const line = this.told.push(JSON.stringify(step)) - 1;
    const outcome = await this.#act(step);
    this.told[line] += ` → ${outcome}`;
    this.#tally.count(`${step.do}: ${outcome}`);
    await this.#compare();
  }

  /** What is true when all is said: the rows are the oracle's, and every kept decision can be judged again. */
  async end(): Promise<void> {
    await compareRows(this.world);
    for (const decision of await this.world.at("A").access.audit.decisions({ limit: 100 }))
      judgeAgain(decision);
  }

  get #facts(): oracle.Facts {
    return this.world.facts;
  }

  async #act(step: Step): Promise<string> {
    switch (step.do) {
      case "change":
        return step.by === "dying"
          ? this.#dyingChange(this.#drawn(step.change))
          : this.#change(step.by, this.#drawn(step.change), step.foretold);
      case "data":
        return this.#data(step.club, step.user, step.isIn);
      case "token":
        return (await this.#token(step)) ? "issued" : "denied";
      case "connect":
        return this.#connect(step.at, step.knock);
      case "message":
        return this.#message(step);
      case "send":
        return this.#send(step.at, step.to, step.required);
      case "close":
        return this.#close(step.at, step.to);
      case "hang up":
        return this.#hangUp(step.at, step.socket);
      case "vanish":
        return this.#vanish(step.socket);
      case "wait":
        await this.world.pass(step.ms);
        return "waited";
      case "enforce":
        await this.world.at(step.at).enforce();
        return this.#expected.enforced() > 0 ? "with consequences" : "nothing to do";
      case "ask":
        if (step.question.ask === "rows") await compareRows(this.world);
        else if (step.question.ask === "preview") await this.#preview(step.at, step.question);
        else await ask(this.world.at(step.at).access, this.#facts, step.question);
        return step.question.ask;
    }
  }

  async #compare(): Promise<void> {
    const seen = await this.world.seen();
    const wanted = this.#expected.take();
    const lines = seen.frames.map(lineOf);
    this.#tally.saw(seen.ran, lines, wanted);
    same("handlers that ran", seen.ran, wanted.ran);
    same("frames", lines.sort(), wanted.lines.sort());
    same("sockets closed", [...seen.closed].sort(), [...wanted.closed].sort());
    same("errors", this.world.errors, []);
    for (const { frame } of seen.frames) {
      if (frame.type === "sallyport.revoked") await this.#follow("A", frame.reference, "revocation");
    }
  }

  #drawn(draft: Draft): oracle.Change {
    if (draft.kind === "take") {
      return counted(takeable(this.#facts), draft.number) ?? { kind: "recheck", user: "ann" };
    }
    if (!("lasts" in draft)) return ofNow(this.#facts, draft as oracle.Change);
    const { lasts = 0, ...change } = draft;
    return { ...change, until: this.#facts.now + lasts };
  }

  async #change(by: Name, change: oracle.Change, foretold: boolean): Promise<string> {
    const { access } = this.world.at(by);
    const preview = foretold ? await access.preview(change as AccessChange) : undefined;
    const before = effective(this.#facts);
    const consequence = consequenceOf(this.#facts, change);
    const { changed } = await access.change(change as AccessChange);
    same("changed", changed, make(this.#facts, change));
    if (preview) comparePreview(preview, this.#facts, before, changed ? consequence : undefined);
    const lost = this.#expected.drawn(changed ? [consequence] : []);
    return `${change.kind}${changed ? "" : " of nothing"}${lost > 0 ? ", with consequences" : ""}`;
  }

  async #dyingChange(change: oracle.Change): Promise<string> {
    const consequence = consequenceOf(this.#facts, change);
    const process = this.world.dying();
    await process.access.change(change as AccessChange).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
    if (make(this.#facts, change)) this.#expected.orphan(consequence);
    return "died";
  }

  #data(club: string, user: string, isIn: boolean): string {
    const members = this.#facts.clubs.get(club) ?? new Set();
    if (isIn) members.add(user);
    else members.delete(user);
    this.#facts.clubs.set(club, members);
    return isIn ? "is in" : "is out";
  }

  async #token(wanted: { at: Name; user: string; login: string; view?: string; channel?: string }) {
    const { at, user, view, channel } = wanted;
    const device = `${user}-${wanted.login}`;
    const login = sessionOf(this.#facts, device);
    await this.#endedAgain(at, user, device);
    const body = view || channel ? JSON.stringify({ view, channel }) : undefined;
    const answer = await this.world.event(at, "/api/ws-token", pageHeaders(cookieOf(user, login)), body);
    const { active } = known(this.#facts, user);
    const start = channel ?? (view === undefined ? undefined : this.world.start(view));
    const allowed =
      active &&
      (view === undefined || oracle.mayUse(this.#facts, user, view)) &&
      (start === undefined || oracle.mayEnter(this.#facts, user, start));
    same("token's status", answer.status, allowed ? 200 : 403);
    if (!allowed) return this.#follow(at, answer.body.reference, "token");
    const token = issue(this.#facts, answer.body.token as string, { user, login, view, channel });
    this.#tokens.push(token);
    return token;
  }

  /** A session that was ended receives no token, although the app's own authentication still accepts it. */
  async #endedAgain(at: Name, user: string, device: string): Promise<void> {
    const ended = endedSessions(this.#facts, device).at(-1);
    if (ended === undefined) return;
    const { status } = await this.world.event(at, "/api/ws-token", pageHeaders(cookieOf(user, ended)));
    same("token's status of an ended session", status, 401);
    this.#tally.count("token: session ended");
  }

  async #connect(at: Name, { user, view, channel, ...knock }: Knock): Promise<string> {
    const token = await this.#tokenFor(at, user, knock);
    const id = `socket-${String(++this.#number).padStart(4, "0")}`;
    const cookie = knock.cookie ?? token?.user ?? user;
    const login =
      cookie !== null && cookie === token?.user
        ? token.login
        : sessionOf(this.#facts, `${cookie}-${knock.login}`);
    const query = new URLSearchParams({
      ...(token ? { ws_token: token.text } : {}),
      ...(channel ? { channel } : {}),
    });
    const headers = {
      ...pageHeaders(cookie === null ? undefined : cookieOf(cookie, login)),
      ...gatewayHeaders(id, knock.forged === "secret" ? "another".repeat(8) : undefined),
      ...(knock.forged === "origin" ? { origin: "https://elsewhere.example.com" } : {}),
    };
    const { status, body } = await this.world.event(at, `${view}/connect?${query}`, headers);
    const start = channel ?? this.world.start(view);
    const comes = knock.forged
      ? undefined
      : token
        ? this.#spent(token, { cookie, login, view, start })
        : null;
    const allowed =
      comes !== undefined &&
      oracle.mayUse(this.#facts, comes, view) &&
      (start === undefined || oracle.mayEnter(this.#facts, comes, start));
    // 401 for as long as the row of the ended session's token is kept.
    const denied = status === 401 && this.#isOfEnded(token) ? 401 : 403;
    same("connect's status", status, allowed ? 200 : denied);
    if (!allowed) {
      await this.#follow(at, body.reference, "connect");
      return "denied";
    }
    this.#facts.sockets.push({
      id,
      view,
      user: comes,
      login: comes === null ? null : login,
      channels: start === undefined ? [] : [start],
      since: this.#facts.now,
      open: true,
      connected: true,
      vanished: false,
    });
    return comes === null ? "open, not signed in" : "open";
  }

  async #tokenFor(
    at: Name,
    user: string | null,
    { token, held, login }: Pick<Knock, "token" | "held" | "login">,
  ): Promise<oracle.Token | undefined> {
    if (token === "none" || user === null) return undefined;
    if (token === "held") return counted(this.#tokens.toReversed(), held);
    return this.#token({ at, user, login });
  }

  #isOfEnded(token: oracle.Token | undefined): boolean {
    const [device = ""] = token?.login.split(".") ?? [];
    return token !== undefined && endedSessions(this.#facts, device).includes(token.login);
  }

  /** The user of a token, if the cookie is of the same login and the token is for this view and channel. */
  #spent(
    token: oracle.Token,
    used: { cookie: string | null; login: string; view: string; start: string | undefined },
  ): string | undefined {
    const spent = spend(this.#facts, token.text);
    if (!spent || spent.user !== used.cookie || spent.login !== used.login) return undefined;
    if (spent.view !== undefined && spent.view !== used.view) return undefined;
    return spent.channel === undefined || spent.channel === used.start ? spent.user : undefined;
  }

  async #hangUp(at: Name, number: number): Promise<string> {
    const socket = this.#pick(number, ({ connected }) => connected);
    if (!socket) return "nobody there";
    same("disconnect", await this.world.disconnect(at, socket.id), { status: 200, body: {} });
    Object.assign(socket, { open: false, connected: false, vanished: true, channels: [] });
    return "hung up";
  }

  #vanish(number: number): string {
    const isOld = ({ since }: oracle.Socket) => this.#facts.now - since > ARRIVING_MS;
    const socket = this.#pick(number, (one) => one.connected && !one.vanished && isOld(one));
    if (!socket) return "nobody there";
    socket.vanished = true;
    return "vanished";
  }

  #pick(number: number, fits: (socket: oracle.Socket) => boolean): oracle.Socket | undefined {
    return counted(this.#facts.sockets.filter(fits), number);
  }

  async #message({ at, socket: number, route, words, isCall }: Extract<Step, { do: "message" }>) {
    const socket = this.#pick(number, ({ connected, vanished }) => connected && !vanished);
    const id = socket?.id ?? "nobody-at-all";
    const view = route ?? socket?.view ?? "/any";
    const to = audienceOf(this.#facts, words.to);
    const n = ++this.#number;
    const fields = { ...words, to, n, handler: words.name, ...(isCall ? { id: n } : {}) };
    const answer = await this.world.event(at, `${view}/default`, gatewayHeaders(id), JSON.stringify(fields));
    const result = socket ? this.#expected.answered(socket, view, words, to, n) : REFUSED;
    compareAnswer(answer, isCall ? n : undefined, result);
    if (result !== REFUSED) return `${words.name} answered`;
    await this.#follow(at, answer.body.reference, "message");
    return `${words.name} refused`;
  }

  #exists(to: oracle.Audience): boolean {
    return to === "everyone" || !("channel" in to) || oracle.exists(this.#facts, to.channel);
  }

  async #send(at: Name, wanted: Wanted, required: oracle.Rule): Promise<string> {
    const to = audienceOf(this.#facts, wanted);
    const n = ++this.#number;
    const send = async () =>
      this.world
        .at(at)
        .to(to as Audience, requirement(required))
        .send({ type: "note", n });
    if (!this.#exists(to)) {
      const error = await send().catch((thrown: unknown) => thrown);
      same("a send to no channel is a mistake", error instanceof ConfigurationError, true);
      return "no such channel";
    }
    const report = await send();
    const expected = this.#expected.sent(to, required, n);
    same("report", report, expected);
    return expected.sent > 0 ? "sent" : "sent to nobody";
  }

  async #close(at: Name, wanted: Wanted): Promise<string> {
    const to = audienceOf(this.#facts, wanted);
    if (!this.#exists(to)) return "no such channel";
    const addressed = this.#facts.sockets.filter((socket) => oracle.isAddressed(this.#facts, socket, to));
    const { recipients, sent, gone } = await this.world
      .at(at)
      .to(to as Audience)
      .close();
    const there = addressed.filter(({ vanished }) => !vanished).length;
    for (const socket of addressed) this.#expected.closed(socket);
    const all = addressed.length;
    same(
      "report of closing",
      { recipients, sent, gone },
      { recipients: all, sent: there, gone: all - there },
    );
    return "closed";
  }

  async #preview(at: Name, { to: wanted, required }: { to: Wanted; required: oracle.Rule }): Promise<void> {
    const to = audienceOf(this.#facts, wanted);
    if (!this.#exists(to)) return;
    const preview = await this.world
      .at(at)
      .to(to as Audience, requirement(required))
      .preview();
    const addressed = this.#facts.sockets.filter((socket) => oracle.isAddressed(this.#facts, socket, to));
    const permitted = addressed.filter((socket) => oracle.mayHear(this.#facts, socket, to, required)).length;
    const recipients = addressed.length;
    same("preview of a send", preview, { recipients, permitted, denied: recipients - permitted });
  }

  /** Follows some references to the decisions that they lead to. */
  async #follow(at: Name, reference: unknown, event: Decision["event"]): Promise<undefined> {
    this.#tally.count(`refused: ${event}`);
    if (typeof reference !== "string") throw new Disagreement("a refusal without a reference");
    if (this.#tally.steps % FOLLOWED > 0) return;
    const decision = await this.world.at(at).access.explain(reference);
    const isCounted = reference.endsWith("+");
    if (!decision) {
      if (isCounted) return;
      throw new Disagreement(`nothing is kept of reference ${reference}`);
    }
    this.#tally.count("references followed");
    same("decision", [decision.verdict, decision.event], ["denied", event]);
    // A refusal that was counted on an earlier one leads there, and the facts may have changed since.
    judgeAgain(decision, isCounted || this.#followed.has(reference) ? undefined : this.#facts);
    this.#followed.add(reference);
  }
}

/** A call's answer is HTTP 200 whatever it says; without an id the status is the answer's. */
function compareAnswer({ status, body }: Answer, id: number | undefined, result: unknown): void {
  const { reference: _reference, ...said } = body;
  const call = id === undefined ? {} : { id };
  if (result !== REFUSED && result !== MALFORMED) {
    same("answer's status", status, 200);
    const given = result === undefined ? {} : { result };
    same("answer", body, id === undefined ? (result ?? {}) : { id, ok: true, status: 200, ...given });
    return;
  }
  const refusal = result === REFUSED ? 403 : 400;
  const error = result === REFUSED ? "Permission denied." : "Bad channel name.";
  same("answer's status", status, id === undefined ? refusal : 200);
  same("answer", said, { ...call, ok: false, ...(id === undefined ? {} : { status: refusal }), error });
}
