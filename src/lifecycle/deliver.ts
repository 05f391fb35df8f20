import type { MatchedChannel } from "../access/channels.ts";
import { newReference, note, refusal } from "../access/decisions.ts";
import { type ChangeOptions, checkChangeOptions, isName } from "../access/grants.ts";
import { demand } from "../access/guard.ts";
import { compileRule, PageJudge, type Rule } from "../access/rules.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import {
  type DeliveryPreview,
  type DeliveryReport,
  DeliveryTally,
  encodeFrame,
  type Outcome,
  type Recipient,
  type StillPermitted,
} from "../delivery/delivery.ts";
import { ConfigurationError, RefusedError } from "../errors.ts";
import type { Gateway } from "../gateways/gateways.ts";
import type { SessionSelector } from "../sessions/session-selector.ts";
import { PAGE_SIZE, type SessionRow } from "../sessions/sessions.ts";
import { shown } from "../shown.ts";
import { breathe } from "../storage/database.ts";
import type { Outlet } from "../view/context.ts";
import { refuseUnknown } from "../view/rule.ts";
import type { Rooms } from "./rooms.ts";
import { trailOf } from "./standing.ts";

/** Withheld recipients of one send whose reasons are kept; a send that requires a lot withholds a lot. */
const EXPLAINED_PER_SEND = 20;

/** Whom to read, and what each of them must meet beside the rule of its view. */
interface Plan {
  readonly audience: Audience;
  readonly selector: SessionSelector;
  readonly rules: readonly { readonly what: string; readonly rule: Rule }[];
  readonly hooks: MatchedChannel["authorizeMany"];
}

/**
 * The server speaking to an audience.
 *
 * Every recipient is judged with the rights that the statement reading its page brought along: its view's rule,
 * the channel's rules, and what this send requires; then by each `authorizeMany`, once a page.
 *
 * @param by who closes, where the caller of `close` does not say
 * @throws ConfigurationError for a channel that no definition matches, or a requirement that cannot be
 */
export function outletTo(
  rooms: Rooms,
  audience: Audience,
  requirement: Requirement = {},
  by?: string,
): Outlet {
  const plan = planOf(rooms, audience, requirement);
  return {
    send: async (message) => sendPages(rooms, plan, encodeFrame(message)),
    preview: () => previewPages(rooms, plan),
    close: (options = {}) => closeAll(rooms, plan, options, by),
  };
}

function planOf(rooms: Rooms, audience: Audience, requirement: Requirement): Plan {
  const isKnown = (permission: string) => rooms.permissions.find(permission) !== undefined;
  if (typeof requirement !== "object" || requirement === null) {
    throw new ConfigurationError(`to(…, requirement): ${shown(requirement)} is no requirement.`);
  }
  refuseUnknown("to(…)", requirement, REQUIREMENTS);
  const required = { what: "this send", rule: compileRule("to(…)", [requirement], isKnown) };
  const plain = (selector: SessionSelector): Plan => ({ audience, selector, rules: [required], hooks: [] });
  if (audience === "everyone") return plain({ kind: "all" });
  // With two keys one of them would not count, and with it perhaps a channel's rule.
  if (typeof audience !== "object" || audience === null || Object.keys(audience).length !== 1) {
    throw noAudience(audience);
  }
  if ("user" in audience) return plain({ kind: "user", userId: text(audience, audience.user) });
  if ("session" in audience) return plain({ kind: "session", sessionId: text(audience, audience.session) });
  if ("connection" in audience) {
    return plain({ kind: "connection", connectionId: text(audience, audience.connection) });
  }
  if ("permission" in audience) {
    const { permission } = audience;
    const rule = compileRule("to({ permission })", [{ permissionsRequired: [permission] }], isKnown);
    const { rules, ...plan } = plain({ kind: "holders", permission });
    return { ...plan, rules: [...rules, { what: "this send's audience", rule }] };
  }
  if (!("channel" in audience)) throw noAudience(audience);
  const channel = typeof audience.channel === "string" ? rooms.channels.match(audience.channel) : undefined;
  if (!channel) {
    throw new ConfigurationError(
      `to({ channel: ${shown(audience.channel)} }): no channel definition matches. Declare it with defineChannel().`,
      "SALLYPORT_UNKNOWN_NAME",
    );
  }
  const what = `channel "${channel.name}"`;
  return {
    audience,
    selector: { kind: "channel", channel: channel.name },
    rules: [required, ...channel.rules.map((rule) => ({ what, rule }))],
    hooks: channel.authorizeMany,
  };
}

const REQUIREMENTS = new Set<string>([
  "permissionsRequired",
  "allPermissionsRequired",
] satisfies (keyof Requirement)[]);

/** Undefined would select nothing and look like an empty audience. */
function text(audience: Audience, id: unknown): string {
  if (isName(id, 255)) return id;
  throw noAudience(audience);
}

function noAudience(audience: unknown): ConfigurationError {
  return new ConfigurationError(
    `to(${shown(audience)}): an audience is one of { channel }, { user }, { session }, { connection }, { permission } or "everyone".`,
  );
}

/** While the answers for one page are on their way the next is read; a change since then is noticed before each post. */
async function sendPages(rooms: Rooms, plan: Plan, frame: string): Promise<DeliveryReport> {
  const tally = new DeliveryTally();
  const pages = pagesOf(rooms, plan);
  let reading = pages.next();
  for (;;) {
    const { done, value } = await reading;
    if (done) return tally.report();
    const posting = sendPage(rooms, plan, frame, value, tally);
    reading = breathe().then(() => pages.next());
    reading.catch(() => undefined);
    await posting;
  }
}

async function sendPage(
  rooms: Rooms,
  plan: Plan,
  frame: string,
  { page, readAt }: Page,
  tally: DeliveryTally,
): Promise<void> {
  const permitted = await permittedOf(rooms, plan, page);
  const gateways = await rooms.gateways.findMany(page.map((session) => session.gatewayId));
  const options = { stillPermitted: permittedSince(rooms, plan, readAt) };
  const posts: Promise<Outcome>[] = [];
  const posted: string[] = [];
  for (const session of page) {
    const isPermitted = permitted.has(session.id);
    const gateway = isPermitted ? gateways.get(session.gatewayId) : undefined;
    if (!gateway) {
      const count = tally.withhold();
      if (!isPermitted && count <= EXPLAINED_PER_SEND) explainWithheld(rooms, plan, session);
      continue;
    }
    posts.push(rooms.delivery.post(recipientAt(gateway, session), frame, options));
    posted.push(session.id);
  }
  const outcomes = await Promise.all(posts);
  for (const outcome of outcomes) tally.count(outcome);
  const gone = posted.filter((_id, index) => outcomes[index]?.kind === "gone");
  await rooms.sessions.closeMany(gone, "gone");
}

/** Recipients, and the moment just before they were read. */
interface Page {
  readonly page: readonly SessionRow[];
  readonly readAt: number;
}

async function previewPages(rooms: Rooms, plan: Plan): Promise<DeliveryPreview> {
  let [recipients, permitted] = [0, 0];
  for await (const { page } of pagesOf(rooms, plan)) {
    recipients += page.length;
    permitted += (await permittedOf(rooms, plan, page)).size;
  }
  return { recipients, permitted, withheld: recipients - permitted };
}

/** The audience page by page. */
async function* pagesOf(rooms: Rooms, plan: Plan): AsyncGenerator<Page, void> {
  const views = [...rooms.views.values()].map((view) => view.rule);
  const asked = permissionsAsked([...plan.rules.map(({ rule }) => rule), ...views]);
  for (let after = ""; ; ) {
    const readAt = rooms.changes.now();
    const page = await rooms.sessions.recipients(plan.selector, after, asked);
    yield { page, readAt };
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return;
  }
}

/** Ids of the sessions of a page that may have what is sent: by their rules, then by each hook, asked once. */
async function permittedOf(
  rooms: Rooms,
  plan: Plan,
  page: readonly SessionRow[],
): Promise<ReadonlySet<string>> {
  const rules = plan.rules.map(({ rule }) => rule);
  const judges = new Map<string, PageJudge>();
  let permitted = page.filter((session) => {
    // A session of a view that is not mounted here is nobody we can vouch for.
    const view = rooms.views.get(session.view);
    if (!view) return false;
    const judge = judges.get(view.path) ?? new PageJudge([view.rule, ...rules]);
    judges.set(view.path, judge);
    return judge.allows(session);
  });
  for (const hook of plan.hooks) {
    const users = new Set(permitted.flatMap(({ userId }) => userId ?? []));
    const named = users.size === 0 ? users : await askMany(rooms, plan, hook, [...users]);
    permitted = permitted.filter(({ userId }) => userId !== null && named.has(userId));
  }
  return new Set(permitted.map(({ id }) => id));
}

/** A hook that fails has let nobody in. */
async function askMany(
  rooms: Rooms,
  plan: Plan,
  hook: Plan["hooks"][number],
  users: readonly string[],
): Promise<ReadonlySet<string>> {
  try {
    const named: unknown = await hook(users);
    if (typeof named !== "object" || named === null || !(Symbol.iterator in named)) {
      throw new TypeError(`authorizeMany gives a list of user ids, not ${shown(named)}.`);
    }
    return new Set(named as Iterable<string>);
  } catch (error) {
    rooms.onError(error, `authorizeMany for ${JSON.stringify(plan.audience)}`);
    return new Set();
  }
}

/** A recipient whose rights changed in this process after its page was read is read and judged again. */
function permittedSince(rooms: Rooms, plan: Plan, readAt: number): StillPermitted {
  const readAgainAt = new Map<string, number>();
  return ({ sessionId, userId }) => {
    if (!rooms.changes.touched(userId, readAgainAt.get(sessionId) ?? readAt)) return true;
    readAgainAt.set(sessionId, rooms.changes.now());
    return stillReceives(rooms, sessionId, plan);
  };
}

async function stillReceives(rooms: Rooms, sessionId: string, plan: Plan): Promise<boolean> {
  const now = await rooms.sessions.findById(rooms.database.db, sessionId);
  if (!now || !(await permittedOf(rooms, plan, [now])).has(now.id)) return false;
  const { selector } = plan;
  return selector.kind !== "channel" || rooms.memberships.isIn(sessionId, selector.channel);
}

/** Why a send passed somebody by, for whoever asks later. */
function explainWithheld(rooms: Rooms, plan: Plan, session: SessionRow): void {
  const trail = trailOf(session, "delivery");
  if (plan.selector.kind === "channel") trail.channel = plan.selector.channel;
  try {
    const view = rooms.views.get(session.view);
    if (!view) return;
    demand(trail, view.name, view.rule, session);
    for (const { what, rule } of plan.rules) demand(trail, what, rule, session);
    if (plan.hooks.length === 0) return;
    const what = `authorizeMany of channel "${trail.channel}"`;
    note(trail, { kind: "authorize", what, allowed: false });
    throw new RefusedError(`${what} did not name the user.`, { reason: "authorize" });
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    rooms.keep(refusal(trail, error, newReference()));
  }
}

/** The rows first: from then on nothing is accepted or delivered, though a gateway may be out of reach. */
async function closeAll(
  rooms: Rooms,
  plan: Plan,
  options: ChangeOptions,
  user: string | undefined,
): Promise<DeliveryReport> {
  checkChangeOptions(options);
  const { by = user, reason } = options;
  const whose = await whoseSocket(rooms, plan.selector);
  await rooms.database.write(async (db) => {
    const details = { audience: plan.audience };
    await rooms.audit.record(db, await rooms.evictions.number(db), {
      action: "close-sessions",
      by,
      reason,
      user: whose,
      details,
    });
  });
  rooms.evictions.committed();
  const tally = new DeliveryTally();
  let after = "";
  for (;;) {
    const page = await rooms.sessions.recipients(plan.selector, after, []);
    await rooms.sessions.closeMany(
      page.map((session) => session.id),
      "closed by the server",
    );
    rooms.changes.mark();
    const gateways = await rooms.gateways.findMany(page.map((session) => session.gatewayId));
    const closes = page.map((session): Outcome | Promise<Outcome> => {
      const gateway = gateways.get(session.gatewayId);
      if (!gateway) return { kind: "failed", reason: "gateway removed" };
      return rooms.delivery.close(recipientAt(gateway, session));
    });
    for (const outcome of await Promise.all(closes)) tally.count(outcome);
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return tally.report();
  }
}

/** Whom an audience names, where that is one user. */
async function whoseSocket(rooms: Rooms, selector: SessionSelector): Promise<string | null> {
  if (selector.kind === "user") return selector.userId;
  if (selector.kind !== "session" && selector.kind !== "connection") return null;
  // Two gateways may have given the same connection id.
  const users = new Set((await rooms.sessions.recipients(selector, "", [])).map(({ userId }) => userId));
  const [user = null] = users;
  return users.size === 1 ? user : null;
}

/** Where a session's socket is, or undefined when its gateway was removed. */
export async function recipientOf(rooms: Rooms, session: SessionRow): Promise<Recipient | undefined> {
  const gateway = await rooms.gateways.find(session.gatewayId);
  return gateway && recipientAt(gateway, session);
}

function recipientAt(gateway: Gateway, session: SessionRow): Recipient {
  return {
    sessionId: session.id,
    userId: session.userId,
    connectionId: session.connectionId,
    endpoint: gateway.endpoint,
    connectedAt: Date.now() - session.ageMs,
  };
}

/** Every permission that any of the rules mentions. */
function permissionsAsked(rules: readonly Rule[]): readonly string[] {
  return [...new Set(rules.flatMap((rule) => [...rule.anyOf.flat(), ...rule.allOf]))];
}
