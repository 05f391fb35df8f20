import type { Kysely } from "kysely";
import type { Touched } from "../access/evictions.ts";
import type { ChangeOptions } from "../access/grants.ts";
import { USER_PAGE, type UserSelector } from "../access/rights.ts";
import type { Subject } from "../access/rules.ts";
import { PAGE_SIZE, type SessionWithChannels } from "../sessions/sessions.ts";
import { breathe, type Tables } from "../storage/database.ts";
import { type AccessChange, type Written, writeChange } from "./change-rights.ts";
import { isEnded, selectorOf } from "./evict.ts";
import type { Rooms } from "./rooms.ts";
import { HOOK_DEADLINE_MS, standingInChannel, standingOfView } from "./standing.ts";

/** What a change would do, were it made now. */
export interface AccessPreview {
  /** False when everything is so already. */
  readonly changed: boolean;
  /** Whose effective permissions would differ: superusers have all of them, inactive users none. */
  readonly users: readonly UserEffect[];
  /** Open sockets that would be closed. */
  readonly sessions: readonly SessionEffect[];
  /** Channels that would be left by sockets that stay. */
  readonly channels: readonly ChannelEffect[];
  /** Permissions that would be pruned. */
  readonly pruned: readonly string[];
  /** Open sockets of views or channels that are not this app's to judge. */
  readonly foreign: number;
}

export interface UserEffect {
  readonly user: string;
  readonly gains: readonly string[];
  readonly loses: readonly string[];
}

export interface SessionEffect {
  readonly session: string;
  readonly connectionId: string;
  readonly user: string | null;
  readonly view: string;
}

export interface ChannelEffect extends SessionEffect {
  readonly channel: string;
}

/**
 * Tells what a change would do: it is written by the statements that would make it, looked at, and undone. Hooks are asked
 * about the users as they would be. It reads a snapshot, for which other changes do not wait on PostgreSQL.
 *
 * @throws ConfigurationError for input that the change itself would refuse
 */
export async function previewChange(
  rooms: Rooms,
  change: AccessChange,
  options: ChangeOptions = {},
): Promise<AccessPreview> {
  const { written, before, after, sessions } = await rooms.database.rehearse((db) =>
    rehearsed(rooms, db, change, options),
  );
  return {
    changed: written.changed,
    pruned: written.pruned,
    users: effects(rooms, before, after),
    ...(await consequences(rooms, written.touched, sessions)),
  };
}

async function rehearsed(rooms: Rooms, db: Kysely<Tables>, change: AccessChange, options: ChangeOptions) {
  await rooms.database.sql`savepoint before_change`.execute(db);
  const written = await writeChange(rooms, db, change, options, { isTentative: true });
  const users = usersOf(written);
  const after = users ? await allSubjects(rooms, db, users) : [];
  const sessions = written.touched ? await allSessions(rooms, db, written) : [];
  // A group that goes takes the list of its members along; whom the change touched is known from its record.
  const listed = written.evictionId === undefined ? [] : await rooms.evictions.listed(db, written.evictionId);
  await rooms.database.sql`rollback to savepoint before_change`.execute(db);
  const before: Subject[] = [];
  if (users?.kind === "listed") {
    for (let from = 0; from < listed.length; from += USER_PAGE) {
      const ids = listed.slice(from, from + USER_PAGE);
      before.push(...(await rooms.rights.subjects(db, { kind: "these", ids }, "")));
      await breathe();
    }
  } else if (users) before.push(...(await allSubjects(rooms, db, users)));
  return { written, before, after, sessions };
}

function usersOf({ touched, evictionId }: Written): UserSelector | undefined {
  switch (touched?.scope) {
    case "user":
    case "deleted-user":
      return { kind: "user", userId: touched.subject };
    case "group":
      return { kind: "group", group: touched.subject };
    case "users":
      return evictionId === undefined ? undefined : { kind: "listed", evictionId };
    default:
      return undefined;
  }
}

async function allSubjects(rooms: Rooms, db: Kysely<Tables>, users: UserSelector): Promise<Subject[]> {
  const all: Subject[] = [];
  for await (const page of rooms.rights.pages(db, users)) all.push(...page);
  return all;
}

async function allSessions(
  rooms: Rooms,
  db: Kysely<Tables>,
  { touched, evictionId }: Written,
): Promise<SessionWithChannels[]> {
  if (!touched || evictionId === undefined) return [];
  const subject = "subject" in touched ? touched.subject : "";
  const selector = selectorOf({ id: evictionId, scope: touched.scope, subject });
  const all: SessionWithChannels[] = [];
  for (let after = ""; ; ) {
    const page = await rooms.sessions.page(selector, after, { db });
    all.push(...page);
    await breathe();
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return all;
  }
}

function effects(rooms: Rooms, before: readonly Subject[], after: readonly Subject[]): UserEffect[] {
  const then = new Map(after.map((subject) => [subject.userId, subject]));
  const now = new Map(before.map((subject) => [subject.userId, subject]));
  const ids = [...new Set([...now.keys(), ...then.keys()])].filter((id) => id !== null).sort();
  return ids.flatMap((user) => {
    const had = effective(rooms, now.get(user));
    const has = effective(rooms, then.get(user));
    const gains = [...has].filter((permission) => !had.has(permission)).sort();
    const loses = [...had].filter((permission) => !has.has(permission)).sort();
    return gains.length + loses.length > 0 ? [{ user, gains, loses }] : [];
  });
}

/** What a user may do by permissions: everything there is for a superuser, nothing for somebody inactive. */
export function effective(rooms: Rooms, subject: Subject | undefined): Set<string> {
  if (!subject?.isActive) return new Set();
  const all = subject.isSuperuser ? rooms.permissions.list().map(({ name }) => name) : [];
  return new Set([...all, ...subject.permissions]);
}

async function consequences(
  rooms: Rooms,
  touched: Touched | undefined,
  open: readonly SessionWithChannels[],
): Promise<Pick<AccessPreview, "sessions" | "channels" | "foreign">> {
  const sessions: SessionEffect[] = [];
  const channels: ChannelEffect[] = [];
  let foreign = 0;
  for (const session of open) {
    const { id, connectionId, userId, view } = session;
    const effect = { session: id, connectionId, user: userId, view };
    const standing = touched && isEnded(touched.scope) ? undefined : standingOfView(rooms, session);
    if (standing === undefined || standing.kind === "lost") sessions.push(effect);
    else if (standing.kind === "foreign") foreign++;
    else {
      for (const channel of session.channels) {
        const { kind } = await standingInChannel(rooms, session, channel, HOOK_DEADLINE_MS);
        if (kind === "lost") channels.push({ ...effect, channel });
        else if (kind === "foreign") foreign++;
      }
    }
  }
  return { sessions, channels, foreign };
}
