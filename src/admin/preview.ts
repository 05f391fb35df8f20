import type { Kysely } from "kysely";
import { type ConnectionWithChannels, PAGE_SIZE } from "../connections/connections.ts";
import { USER_PAGE, type UserSelector } from "../permissions/effective.ts";
import type { ChangeOptions } from "../permissions/grants.ts";
import type { Subject } from "../permissions/rules.ts";
import type { RevocationTarget } from "../revocation/queue.ts";
import { HOOK_DEADLINE_MS, recheckChannel, recheckView } from "../revocation/recheck.ts";
import { isEnded, selectorOf } from "../revocation/worker.ts";
import type { Services } from "../services.ts";
import { type Tables, yieldToEventLoop } from "../storage/database.ts";
import { type AccessChange, type Written, writeChange } from "./change.ts";

/** What a change would do, were it made now. */
export interface AccessPreview {
  /** False when everything is so already. */
  readonly changed: boolean;
  /** Whose effective permissions would differ: superusers have all of them, inactive users none. */
  readonly users: readonly UserEffect[];
  /** Open sockets that would be closed. */
  readonly connections: readonly ConnectionEffect[];
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

export interface ConnectionEffect {
  readonly connection: string;
  readonly connectionId: string;
  readonly user: string | null;
  readonly view: string;
}

export interface ChannelEffect extends ConnectionEffect {
  readonly channel: string;
}

/**
 * Tells what a change would do: it is written by the statements that would make it, looked at, and undone. Hooks are asked
 * about the users as they would be. It reads a snapshot, for which other changes do not wait on PostgreSQL.
 *
 * @throws ConfigurationError for input that the change itself would refuse
 */
export async function previewChange(
  services: Services,
  change: AccessChange,
  options: ChangeOptions = {},
): Promise<AccessPreview> {
  const { written, before, after, connections } = await services.database.rollbackTransaction((db) =>
    rehearsed(services, db, change, options),
  );
  return {
    changed: written.changed,
    pruned: written.pruned,
    users: effects(services, before, after),
    ...(await consequences(services, written.touched, connections)),
  };
}

async function rehearsed(
  services: Services,
  db: Kysely<Tables>,
  change: AccessChange,
  options: ChangeOptions,
) {
  await services.database.sql`savepoint before_change`.execute(db);
  const written = await writeChange(services, db, change, options, { isTentative: true });
  const users = usersOf(written);
  const after = users ? await allSubjects(services, db, users) : [];
  const connections = written.touched ? await allSessions(services, db, written) : [];
  // A group that goes takes the list of its members along; whom the change touched is known from its record.
  const listed =
    written.revocationId === undefined ? [] : await services.revocations.listed(db, written.revocationId);
  await services.database.sql`rollback to savepoint before_change`.execute(db);
  const before: Subject[] = [];
  if (users?.kind === "listed") {
    for (let from = 0; from < listed.length; from += USER_PAGE) {
      const ids = listed.slice(from, from + USER_PAGE);
      before.push(...(await services.userPermissions.subjects(db, { kind: "these", ids }, "")));
      await yieldToEventLoop();
    }
  } else if (users) before.push(...(await allSubjects(services, db, users)));
  return { written, before, after, connections };
}

function usersOf({ touched, revocationId }: Written): UserSelector | undefined {
  switch (touched?.scope) {
    case "user":
    case "deleted-user":
      return { kind: "user", userId: touched.subject };
    case "group":
      return { kind: "group", group: touched.subject };
    case "users":
      return revocationId === undefined ? undefined : { kind: "listed", revocationId };
    default:
      return undefined;
  }
}

async function allSubjects(services: Services, db: Kysely<Tables>, users: UserSelector): Promise<Subject[]> {
  const all: Subject[] = [];
  for await (const page of services.userPermissions.pages(db, users)) all.push(...page);
  return all;
}

async function allSessions(
  services: Services,
  db: Kysely<Tables>,
  { touched, revocationId }: Written,
): Promise<ConnectionWithChannels[]> {
  if (!touched || revocationId === undefined) return [];
  const subject = "subject" in touched ? touched.subject : "";
  const selector = selectorOf({ id: revocationId, scope: touched.scope, subject });
  const all: ConnectionWithChannels[] = [];
  for (let after = ""; ; ) {
    const page = await services.connections.page(selector, after, { db });
    all.push(...page);
    await yieldToEventLoop();
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return all;
  }
}

function effects(services: Services, before: readonly Subject[], after: readonly Subject[]): UserEffect[] {
  const then = new Map(after.map((subject) => [subject.userId, subject]));
  const now = new Map(before.map((subject) => [subject.userId, subject]));
  const ids = [...new Set([...now.keys(), ...then.keys()])].filter((id) => id !== null).sort();
  return ids.flatMap((user) => {
    const had = effective(services, now.get(user));
    const has = effective(services, then.get(user));
    const gains = [...has].filter((permission) => !had.has(permission)).sort();
    const loses = [...had].filter((permission) => !has.has(permission)).sort();
    return gains.length + loses.length > 0 ? [{ user, gains, loses }] : [];
  });
}

/** What a user may do by permissions: everything there is for a superuser, nothing for somebody inactive. */
export function effective(services: Services, subject: Subject | undefined): Set<string> {
  if (!subject?.isActive) return new Set();
  const all = subject.isSuperuser ? services.permissions.list().map(({ name }) => name) : [];
  return new Set([...all, ...subject.permissions]);
}

async function consequences(
  services: Services,
  touched: RevocationTarget | undefined,
  open: readonly ConnectionWithChannels[],
): Promise<Pick<AccessPreview, "connections" | "channels" | "foreign">> {
  const connections: ConnectionEffect[] = [];
  const channels: ChannelEffect[] = [];
  let foreign = 0;
  for (const connection of open) {
    const { id, connectionId, userId, view } = connection;
    const effect = { connection: id, connectionId, user: userId, view };
    const standing = touched && isEnded(touched.scope) ? undefined : recheckView(services, connection);
    if (standing === undefined || standing.kind === "lost") connections.push(effect);
    else if (standing.kind === "foreign") foreign++;
    else {
      for (const channel of connection.channels) {
        const { kind } = await recheckChannel(services, connection, channel, HOOK_DEADLINE_MS);
        if (kind === "lost") channels.push({ ...effect, channel });
        else if (kind === "foreign") foreign++;
      }
    }
  }
  return { connections, channels, foreign };
}
