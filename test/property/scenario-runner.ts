import type { AccessChange } from "../../src/admin/change.ts";
import type { Decision } from "../../src/audit/decision.ts";
import type { Audience } from "../../src/delivery/audience.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { type Design, requirement } from "./app.ts";
import { DENIED, Expected, MALFORMED } from "./expected.ts";
import { expectSame, Mismatch } from "./mismatch.ts";
import * as model from "./model.ts";
import {
  applyChange,
  consequenceOf,
  consumeToken,
  endedSessions,
  issueToken,
  sessionOf,
  userState,
  withCurrentSession,
} from "./model-changes.ts";
import { comparePreview, compareRows, effective, query } from "./queries.ts";
import { audienceOf, itemAt, removals } from "./selection.ts";
import type { AudienceDraft, ConnectAttempt, Draft, Step } from "./steps.ts";
import { checkDecision } from "./stored-decisions.ts";
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

/**
 * Time in which a 410 can mean that a connection is not established yet. Only older connections are lost,
 * so that no send waits for them.
 */
const ARRIVING_MS = 29_000;
/** The references of one in this many steps are resolved to their decisions. */
const RESOLVED_EVERY = 5;

/** Runs steps in a world, and compares every visible effect with the reference model. */
export class ScenarioRunner {
  /** One line for each step, with its outcome. */
  readonly log: string[] = [];
  readonly world: World;
  readonly #tally: Tally;
  readonly #expected: Expected;
  /**
   * Issued tokens. They are tried again after they were used, have expired, or were deleted with
   * their session.
   */
  readonly #tokens: model.Token[] = [];
  readonly #resolvedReferences = new Set<string>();
  #number = 0;

  private constructor(world: World, tally: Tally) {
    this.world = world;
    this.#tally = tally;
    this.#expected = new Expected(world.state);
  }

  static async open(design: Design, sample: boolean, tally: Tally): Promise<ScenarioRunner> {
    return new ScenarioRunner(await World.open(design, sample), tally);
  }

  async step(step: Step): Promise<void> {
    this.#tally.steps++;
    const line = this.log.push(JSON.stringify(step)) - 1;
    const outcome = await this.#act(step);
    this.log[line] += ` → ${outcome}`;
    this.#tally.count(`${step.do}: ${outcome}`);
    await this.#compare();
  }

  /** Checks that the rows match the model, and that each stored decision is consistent. */
  async end(): Promise<void> {
    await compareRows(this.world);
    for (const decision of await this.world.at("A").access.audit.decisions({ limit: 100 }))
      checkDecision(decision);
  }

  get #state(): model.ModelState {
    return this.world.state;
  }

  async #act(step: Step): Promise<string> {
    switch (step.do) {
      case "change":
        return step.by === "killed"
          ? this.#killedChange(this.#resolved(step.change))
          : this.#change(step.by, this.#resolved(step.change), step.previewed);
      case "data":
        return this.#data(step.club, step.user, step.isIn);
      case "token":
        return (await this.#token(step)) ? "issued" : "denied";
      case "connect":
        return this.#connect(step.at, step.attempt);
      case "message":
        return this.#message(step);
      case "send":
        return this.#send(step.at, step.to, step.required);
      case "close":
        return this.#close(step.at, step.to);
      case "disconnect":
        return this.#disconnect(step.at, step.socket);
      case "lose":
        return this.#lose(step.socket);
      case "wait":
        await this.world.pass(step.ms);
        return "waited";
      case "enforce":
        await this.world.at(step.at).enforce();
        return this.#expected.enforced() > 0 ? "with consequences" : "nothing to do";
      case "ask":
        if (step.question.kind === "rows") await compareRows(this.world);
        else if (step.question.kind === "preview") await this.#preview(step.at, step.question);
        else await query(this.world.at(step.at).access, this.#state, step.question);
        return step.question.kind;
    }
  }

  async #compare(): Promise<void> {
    const seen = await this.world.observed();
    const wanted = this.#expected.take();
    const isReturn = ({ frame }: (typeof seen.frames)[number]) => frame.type === "sallyport.restored";
    const lines = seen.frames.filter((arrived) => !isReturn(arrived)).map(lineOf);
    // These notices are sent in the background, so only their permission is compared.
    const forbidden = seen.frames
      .filter(isReturn)
      .filter(({ socket, frame }) => !this.#expected.mayReturn(socket, String(frame.channel)));
    expectSame("forbidden notices", forbidden.map(lineOf), []);
    this.#expected.endStep();
    this.#tally.saw(seen.ran, lines, wanted);
    expectSame("handlers called", seen.ran, wanted.ran);
    expectSame("frames", lines.sort(), wanted.lines.sort());
    expectSame("sockets closed", [...seen.closed].sort(), [...wanted.closed].sort());
    expectSame("errors", this.world.errors, []);
    for (const { frame } of seen.frames) {
      if (frame.type === "sallyport.revoked")
        await this.#resolveReference("A", frame.reference, "revocation");
    }
  }

  #resolved(draft: Draft): model.Change {
    if (draft.kind === "remove-existing") {
      return itemAt(removals(this.#state), draft.number) ?? { kind: "recheck", user: "ann" };
    }
    if (!("lasts" in draft)) return withCurrentSession(this.#state, draft as model.Change);
    const { lasts = 0, ...change } = draft;
    return { ...change, until: this.#state.now + lasts };
  }

  async #change(by: Name, change: model.Change, previewed: boolean): Promise<string> {
    const { access } = this.world.at(by);
    const preview = previewed ? await access.preview(change as AccessChange) : undefined;
    const before = effective(this.#state);
    const consequence = consequenceOf(this.#state, change);
    const { changed } = await access.change(change as AccessChange);
    expectSame("changed", changed, applyChange(this.#state, change));
    if (preview) comparePreview(preview, this.#state, before, changed ? consequence : undefined);
    const lost = this.#expected.applied(changed ? [consequence] : []);
    return `${change.kind}${changed ? "" : " without effect"}${lost > 0 ? ", with consequences" : ""}`;
  }

  async #killedChange(change: model.Change): Promise<string> {
    const consequence = consequenceOf(this.#state, change);
    const process = this.world.killed();
    await process.access.change(change as AccessChange).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
    if (applyChange(this.#state, change)) this.#expected.orphan(consequence);
    return "killed";
  }

  #data(club: string, user: string, isIn: boolean): string {
    const members = this.#state.clubs.get(club) ?? new Set();
    if (isIn) members.add(user);
    else members.delete(user);
    this.#state.clubs.set(club, members);
    return isIn ? "is in" : "is out";
  }

  async #token(wanted: { at: Name; user: string; login: string; view?: string; channel?: string }) {
    const { at, user, view, channel } = wanted;
    const device = `${user}-${wanted.login}`;
    const login = sessionOf(this.#state, device);
    await this.#checkEndedSession(at, user, device);
    const body = view || channel ? JSON.stringify({ view, channel }) : undefined;
    const answer = await this.world.event(at, "/api/ws-token", pageHeaders(cookieOf(user, login)), body);
    const { active } = userState(this.#state, user);
    const start = channel ?? (view === undefined ? undefined : this.world.start(view));
    const allowed =
      active &&
      (view === undefined || model.canUseView(this.#state, user, view)) &&
      (start === undefined || model.canJoin(this.#state, user, start));
    expectSame("token's status", answer.status, allowed ? 200 : 403);
    if (!allowed) return this.#resolveReference(at, answer.body.reference, "token");
    const token = issueToken(this.#state, answer.body.token as string, { user, login, view, channel });
    this.#tokens.push(token);
    return token;
  }

  /** An ended session receives no token, although the app's own authentication still accepts it. */
  async #checkEndedSession(at: Name, user: string, device: string): Promise<void> {
    const ended = endedSessions(this.#state, device).at(-1);
    if (ended === undefined) return;
    const { status } = await this.world.event(at, "/api/ws-token", pageHeaders(cookieOf(user, ended)));
    expectSame("token status of an ended session", status, 401);
    this.#tally.count("token: session ended");
  }

  async #connect(at: Name, { user, view, channel, ...attempt }: ConnectAttempt): Promise<string> {
    const token = await this.#tokenFor(at, user, attempt);
    const id = `socket-${String(++this.#number).padStart(4, "0")}`;
    const cookie = attempt.cookie ?? token?.user ?? user;
    const login =
      cookie !== null && cookie === token?.user
        ? token.login
        : sessionOf(this.#state, `${cookie}-${attempt.login}`);
    const query = new URLSearchParams({
      ...(token ? { ws_token: token.text } : {}),
      ...(channel ? { channel } : {}),
    });
    const headers = {
      ...pageHeaders(cookie === null ? undefined : cookieOf(cookie, login)),
      ...gatewayHeaders(id, attempt.forged === "secret" ? "another".repeat(8) : undefined),
      ...(attempt.forged === "origin" ? { origin: "https://elsewhere.example.com" } : {}),
    };
    const { status, body } = await this.world.event(at, `${view}/connect?${query}`, headers);
    const start = channel ?? this.world.start(view);
    const connectedUser = attempt.forged
      ? undefined
      : token
        ? this.#consumeToken(token, { cookie, login, view, start })
        : null;
    const allowed =
      connectedUser !== undefined &&
      model.canUseView(this.#state, connectedUser, view) &&
      (start === undefined || model.canJoin(this.#state, connectedUser, start));
    // The status is 401 as long as the row of the ended session's token is kept.
    const denied = status === 401 && this.#isOfEnded(token) ? 401 : 403;
    expectSame("connect's status", status, allowed ? 200 : denied);
    if (!allowed) {
      await this.#resolveReference(at, body.reference, "connect");
      return "denied";
    }
    this.#state.sockets.push({
      id,
      view,
      user: connectedUser,
      login: connectedUser === null ? null : login,
      channels: start === undefined ? [] : [start],
      since: this.#state.now,
      open: true,
      connected: true,
      lost: false,
    });
    return connectedUser === null ? "open, not signed in" : "open";
  }

  async #tokenFor(
    at: Name,
    user: string | null,
    { token, held, login }: Pick<ConnectAttempt, "token" | "held" | "login">,
  ): Promise<model.Token | undefined> {
    if (token === "none" || user === null) return undefined;
    if (token === "held") return itemAt(this.#tokens.toReversed(), held);
    return this.#token({ at, user, login });
  }

  #isOfEnded(token: model.Token | undefined): boolean {
    const [device = ""] = token?.login.split(".") ?? [];
    return token !== undefined && endedSessions(this.#state, device).includes(token.login);
  }

  /**
   * Returns the user of a token if the cookie has the same session and the token is for this view
   * and channel.
   */
  #consumeToken(
    token: model.Token,
    used: { cookie: string | null; login: string; view: string; start: string | undefined },
  ): string | undefined {
    const valid = consumeToken(this.#state, token.text);
    if (!valid || valid.user !== used.cookie || valid.login !== used.login) return undefined;
    if (valid.view !== undefined && valid.view !== used.view) return undefined;
    return valid.channel === undefined || valid.channel === used.start ? valid.user : undefined;
  }

  async #disconnect(at: Name, number: number): Promise<string> {
    const socket = this.#pick(number, ({ connected }) => connected);
    if (!socket) return "no such socket";
    expectSame("disconnect", await this.world.disconnect(at, socket.id), { status: 200, body: {} });
    Object.assign(socket, { open: false, connected: false, lost: true, channels: [] });
    return "disconnected";
  }

  #lose(number: number): string {
    const isOld = ({ since }: model.Socket) => this.#state.now - since > ARRIVING_MS;
    const socket = this.#pick(number, (one) => one.connected && !one.lost && isOld(one));
    if (!socket) return "no such socket";
    socket.lost = true;
    return "lost";
  }

  #pick(number: number, fits: (socket: model.Socket) => boolean): model.Socket | undefined {
    return itemAt(this.#state.sockets.filter(fits), number);
  }

  async #message({ at, socket: number, route, fields: input, isCall }: Extract<Step, { do: "message" }>) {
    const socket = this.#pick(number, ({ connected, lost }) => connected && !lost);
    const id = socket?.id ?? "no-such-socket";
    const view = route ?? socket?.view ?? "/any";
    const to = audienceOf(this.#state, input.to);
    const n = ++this.#number;
    const fields = { ...input, to, n, handler: input.name, ...(isCall ? { id: n } : {}) };
    const answer = await this.world.event(at, `${view}/default`, gatewayHeaders(id), JSON.stringify(fields));
    const result = socket ? this.#expected.answered(socket, view, input, to, n) : DENIED;
    compareAnswer(answer, isCall ? n : undefined, result);
    if (result !== DENIED) return `${input.name} succeeded`;
    await this.#resolveReference(at, answer.body.reference, "message");
    return `${input.name} denied`;
  }

  #exists(to: model.Audience): boolean {
    return to === "everyone" || !("channel" in to) || model.exists(this.#state, to.channel);
  }

  async #send(at: Name, wanted: AudienceDraft, required: model.Rule): Promise<string> {
    const to = audienceOf(this.#state, wanted);
    const n = ++this.#number;
    const send = async () =>
      this.world
        .at(at)
        .to(to as Audience, requirement(required))
        .send({ type: "note", n });
    if (!this.#exists(to)) {
      const error = await send().catch((thrown: unknown) => thrown);
      expectSame("a send to an unknown channel throws", error instanceof ConfigurationError, true);
      return "no such channel";
    }
    const report = await send();
    const expected = this.#expected.sent(to, required, n);
    expectSame("report", report, expected);
    return expected.sent > 0 ? "sent" : "sent to no recipient";
  }

  async #close(at: Name, wanted: AudienceDraft): Promise<string> {
    const to = audienceOf(this.#state, wanted);
    if (!this.#exists(to)) return "no such channel";
    const addressed = this.#state.sockets.filter((socket) => model.isAddressed(this.#state, socket, to));
    const { recipients, sent, gone } = await this.world
      .at(at)
      .to(to as Audience)
      .close();
    const there = addressed.filter(({ lost }) => !lost).length;
    for (const socket of addressed) this.#expected.closed(socket);
    const all = addressed.length;
    expectSame(
      "report of a close",
      { recipients, sent, gone },
      { recipients: all, sent: there, gone: all - there },
    );
    return "closed";
  }

  async #preview(
    at: Name,
    { to: wanted, required }: { to: AudienceDraft; required: model.Rule },
  ): Promise<void> {
    const to = audienceOf(this.#state, wanted);
    if (!this.#exists(to)) return;
    const preview = await this.world
      .at(at)
      .to(to as Audience, requirement(required))
      .preview();
    const addressed = this.#state.sockets.filter((socket) => model.isAddressed(this.#state, socket, to));
    const permitted = addressed.filter((socket) =>
      model.canReceive(this.#state, socket, to, required),
    ).length;
    const recipients = addressed.length;
    expectSame("preview of a send", preview, { recipients, permitted, denied: recipients - permitted });
  }

  /** Resolves some references to their decisions. */
  async #resolveReference(at: Name, reference: unknown, event: Decision["event"]): Promise<undefined> {
    this.#tally.count(`denied: ${event}`);
    if (typeof reference !== "string") throw new Mismatch("a denial without a reference");
    if (this.#tally.steps % RESOLVED_EVERY > 0) return;
    const decision = await this.world.at(at).access.explain(reference);
    const isCounted = reference.endsWith("+");
    if (!decision) {
      if (isCounted) return;
      throw new Mismatch(`no decision is stored for the reference ${reference}`);
    }
    this.#tally.count("references resolved");
    expectSame("decision", [decision.verdict, decision.event], ["denied", event]);
    // A denial that was only counted refers to an earlier decision. The state may have changed
    // since then.
    checkDecision(decision, isCounted || this.#resolvedReferences.has(reference) ? undefined : this.#state);
    this.#resolvedReferences.add(reference);
  }
}

/**
 * The answer to a call always has HTTP status 200. The answer to a message without an id has the
 * status of the result.
 */
function compareAnswer({ status, body }: Answer, id: number | undefined, result: unknown): void {
  const { reference: _reference, ...answered } = body;
  const call = id === undefined ? {} : { id };
  if (result !== DENIED && result !== MALFORMED) {
    expectSame("answer's status", status, 200);
    const given = result === undefined ? {} : { result };
    expectSame("answer", body, id === undefined ? (result ?? {}) : { id, ok: true, status: 200, ...given });
    return;
  }
  const rejection = result === DENIED ? 403 : 400;
  const error = result === DENIED ? "Permission denied." : "Bad channel name.";
  expectSame("answer's status", status, id === undefined ? rejection : 200);
  expectSame("answer", answered, {
    ...call,
    ok: false,
    ...(id === undefined ? {} : { status: rejection }),
    error,
  });
}
