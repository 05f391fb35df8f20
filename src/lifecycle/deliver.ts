import { compileRule, judgeAll, type Rule } from "../access/rules.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import {
  type DeliveryReport,
  DeliveryTally,
  encodeFrame,
  type Recipient,
  type StillPermitted,
} from "../delivery/delivery.ts";
import { ConfigurationError } from "../errors.ts";
import { PAGE_SIZE, type SessionRow, type SessionSelector } from "../sessions/sessions.ts";
import type { Outlet } from "../view/context.ts";
import type { Rooms } from "./rooms.ts";

/**
 * The server speaking to an audience.
 *
 * Every recipient is judged with the rights that the statement reading its page brought along: its view's rule,
 * the channel's rules, and what this send requires.
 *
 * @throws ConfigurationError for a channel that no definition matches, or a requirement that cannot be
 */
export function outletTo(rooms: Rooms, audience: Audience, requirement: Requirement = {}): Outlet {
  const { selector, rules } = planOf(rooms, audience, requirement);
  return {
    send: (message) => {
      const frame = encodeFrame(message);
      return sendPages(rooms, selector, rules, frame);
    },
    close: () => closeAll(rooms, selector),
  };
}

/** Whom to read, and the rules that each of them must meet. */
function planOf(
  rooms: Rooms,
  audience: Audience,
  requirement: Requirement,
): { selector: SessionSelector; rules: readonly Rule[] } {
  const isKnown = (permission: string) => rooms.rights.isKnown(permission);
  const rules = [compileRule("to(…)", [requirement], isKnown)];
  if (audience === "everyone") return { selector: { kind: "all" }, rules };
  if ("user" in audience) return { selector: { kind: "user", userId: audience.user }, rules };
  if ("connection" in audience) {
    return { selector: { kind: "connection", connectionId: audience.connection }, rules };
  }
  if ("permission" in audience) {
    const holds = compileRule(
      "to({ permission })",
      [{ permissionsRequired: [audience.permission] }],
      isKnown,
    );
    return { selector: { kind: "all" }, rules: [...rules, holds] };
  }
  const channel = rooms.channels.match(audience.channel);
  if (!channel) {
    throw new ConfigurationError(
      `to({ channel: ${JSON.stringify(audience.channel)} }): no channel definition matches. Declare it with defineChannel().`,
      "SALLYPORT_UNKNOWN_NAME",
    );
  }
  return { selector: { kind: "channel", channel: channel.name }, rules: [...rules, ...channel.rules] };
}

async function sendPages(
  rooms: Rooms,
  selector: SessionSelector,
  rules: readonly Rule[],
  frame: string,
): Promise<DeliveryReport> {
  const tally = new DeliveryTally();
  const asked = permissionsAsked([...rules, ...[...rooms.views.values()].map((view) => view.rule)]);
  let after = "";
  for (;;) {
    const readAt = rooms.changes.now();
    const page = await rooms.sessions.recipients(selector, after, asked);
    const gone: string[] = [];
    await Promise.all(
      page.map(async (session) => {
        const recipient = await recipientOf(rooms, session);
        if (!recipient || !mayReceive(rooms, session, rules)) return tally.withhold();
        const outcome = await rooms.delivery.post(recipient, frame, {
          stillPermitted: permittedSince(rooms, session, selector, rules, readAt),
        });
        if (outcome.kind === "gone") gone.push(session.id);
        tally.count(outcome);
      }),
    );
    await rooms.sessions.closeMany(gone, "gone");
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return tally.report();
  }
}

/** A recipient whose rights changed in this process after its page was read is read and judged again. */
function permittedSince(
  rooms: Rooms,
  session: SessionRow,
  selector: SessionSelector,
  rules: readonly Rule[],
  readAt: number,
): StillPermitted {
  let since = readAt;
  return () => {
    if (!rooms.changes.touched(session.userId, since)) return true;
    since = rooms.changes.now();
    return stillReceives(rooms, session, selector, rules);
  };
}

async function stillReceives(
  rooms: Rooms,
  session: SessionRow,
  selector: SessionSelector,
  rules: readonly Rule[],
): Promise<boolean> {
  const now = await rooms.sessions.findById(rooms.database.db, session.id);
  if (!now || !mayReceive(rooms, now, rules)) return false;
  return selector.kind !== "channel" || rooms.memberships.isIn(session.id, selector.channel);
}

/** The rows first: from then on nothing is accepted or delivered, though a gateway may be out of reach. */
async function closeAll(rooms: Rooms, selector: SessionSelector): Promise<DeliveryReport> {
  const tally = new DeliveryTally();
  let after = "";
  for (;;) {
    const page = await rooms.sessions.recipients(selector, after, []);
    await rooms.sessions.closeMany(
      page.map((session) => session.id),
      "closed by the server",
    );
    rooms.changes.mark();
    await Promise.all(
      page.map(async (session) => {
        const recipient = await recipientOf(rooms, session);
        tally.count(
          recipient ? await rooms.delivery.close(recipient) : { kind: "failed", reason: "gateway removed" },
        );
      }),
    );
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return tally.report();
  }
}

/** A session of a view that is not mounted here is nobody we can vouch for. */
function mayReceive(rooms: Rooms, session: SessionRow, rules: readonly Rule[]): boolean {
  const view = rooms.views.get(session.view);
  return view !== undefined && judgeAll([view.rule, ...rules], session).allowed;
}

/** Where a session's socket is, or undefined when its gateway was removed. */
export async function recipientOf(rooms: Rooms, session: SessionRow): Promise<Recipient | undefined> {
  const gateway = await rooms.gateways.find(session.gatewayId);
  return (
    gateway && {
      sessionId: session.id,
      userId: session.userId,
      connectionId: session.connectionId,
      endpoint: gateway.endpoint,
      connectedAt: Date.now() - session.ageMs,
    }
  );
}

/** Every permission that any of the rules mentions. */
function permissionsAsked(rules: readonly Rule[]): readonly string[] {
  return [...new Set(rules.flatMap((rule) => [...rule.anyOf.flat(), ...rule.allOf]))];
}
