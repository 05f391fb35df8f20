import type { Kysely } from "kysely";
import { type ConnectionWithChannels, PAGE_SIZE } from "../connections/connections.ts";
import { USER_PAGE, type UserSelector } from "../permissions/effective.ts";
import type { ChangeOptions } from "../permissions/grants.ts";
import type { Subject } from "../permissions/rules.ts";
import type { RevocationTarget } from "../revocation/queue.ts";
import { HOOK_DEADLINE_MS, recheckChannel, recheckView } from "../revocation/recheck.ts";
import { closesEveryConnection, selectorOf } from "../revocation/worker.ts";
import type { Services } from "../services.ts";
import { type Tables, yieldToEventLoop } from "../storage/database.ts";
import { type AccessChange, type Written, writeChange } from "./change.ts";

/** The effects that a change would have now. */
export interface AccessPreview {
  /** `false` if the change would have no effect. */
  readonly changed: boolean;
  /**
   * Users with different effective permissions after the change. Superusers have all permissions,
   * and inactive users have none.
   */
  readonly users: readonly UserEffect[];
  /** Open connections that would be closed. */
  readonly connections: readonly ConnectionEffect[];
  /** Channels that remaining connections would leave. */
  readonly channels: readonly ChannelEffect[];
  /** Names of the permissions that would be pruned. */
  readonly pruned: readonly string[];
  /**
   * Number of open connections with a view or channel of another app, which cannot be checked here.
   */
  readonly foreign: number;
}

/** A user with different effective permissions after a change. */
export interface UserEffect {
  readonly user: string;
  readonly gains: readonly string[];
  readonly loses: readonly string[];
}

/** An open connection that a change would close. */
export interface ConnectionEffect {
  readonly connection: string;
  readonly connectionId: string;
  readonly user: string | null;
  readonly view: string;
}

/** A channel that an open connection would leave. */
export interface ChannelEffect extends ConnectionEffect {
  readonly channel: string;
}

/**
 * Returns the effects that a change would have.
 *
 * The change is written in a transaction that is rolled back. Hooks are called with the users as
 * they would be after the change. On PostgreSQL, other changes do not wait for it.
 *
 * @throws ConfigurationError if the change is invalid
 */
export async function previewChange(
  services: Services,
  change: AccessChange,
  options: ChangeOptions = {},
): Promise<AccessPreview> {
  const { written, before, after, connections } = await services.database.rollbackTransaction((db) =>
    writeTentatively(services, db, change, options),
  );
  return {
    changed: written.changed,
    pruned: written.pruned,
    users: effects(services, before, after),
    ...(await connectionEffects(services, written.affected, connections)),
  };
}

async function writeTentatively(
  services: Services,
  db: Kysely<Tables>,
  change: AccessChange,
  options: ChangeOptions,
) {
  await services.database.sql`savepoint before_change`.execute(db);
  const written = await writeChange(services, db, change, options, { isTentative: true });
  const users = usersOf(written);
  const after = users ? await allSubjects(services, db, users) : [];
  const connections = written.affected ? await allConnections(services, db, written) : [];
  // Deleting a group deletes its members, so the affected users are read from the revocation
  // record.
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

function usersOf({ affected, revocationId }: Written): UserSelector | undefined {
  switch (affected?.scope) {
    case "user":
    case "deleted-user":
      return { kind: "user", userId: affected.subject };
    case "group":
      return { kind: "group", group: affected.subject };
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

async function allConnections(
  services: Services,
  db: Kysely<Tables>,
  { affected, revocationId }: Written,
): Promise<ConnectionWithChannels[]> {
  if (!affected || revocationId === undefined) return [];
  const subject = "subject" in affected ? affected.subject : "";
  const selector = selectorOf({ id: revocationId, scope: affected.scope, subject });
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
  const subjectsAfter = new Map(after.map((subject) => [subject.userId, subject]));
  const subjectsBefore = new Map(before.map((subject) => [subject.userId, subject]));
  const ids = [...new Set([...subjectsBefore.keys(), ...subjectsAfter.keys()])]
    .filter((id) => id !== null)
    .sort();
  return ids.flatMap((user) => {
    const had = effective(services, subjectsBefore.get(user));
    const has = effective(services, subjectsAfter.get(user));
    const gains = [...has].filter((permission) => !had.has(permission)).sort();
    const loses = [...had].filter((permission) => !has.has(permission)).sort();
    return gains.length + loses.length > 0 ? [{ user, gains, loses }] : [];
  });
}

/** Returns the effective permissions: all for a superuser, none for an inactive user. */
export function effective(services: Services, subject: Subject | undefined): Set<string> {
  if (!subject?.isActive) return new Set();
  const all = subject.isSuperuser ? services.permissions.list().map(({ name }) => name) : [];
  return new Set([...all, ...subject.permissions]);
}

async function connectionEffects(
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
    const result =
      touched && closesEveryConnection(touched.scope) ? undefined : recheckView(services, connection);
    if (result === undefined || result.kind === "lost") connections.push(effect);
    else if (result.kind === "foreign") foreign++;
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
