import type { ChangeOptions } from "../permissions/grants.ts";
import { HOOK_DEADLINE_MS, recheckChannel, recheckView } from "../revocation/recheck.ts";
import { closesEveryConnection } from "../revocation/worker.ts";
import type { AdminServices } from "../services.ts";
import type { ConnectionWithChannels } from "../storage/stores/connections.ts";
import type { RevocationTarget } from "../storage/stores/revocations.ts";
import type { Subject } from "../storage/stores/users.ts";
import { type AccessChange, storedChange } from "./change.ts";

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
  readonly otherApps: number;
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
  services: AdminServices,
  change: AccessChange,
  options: ChangeOptions = {},
): Promise<AccessPreview> {
  const stored = await storedChange(services, change, options);
  const { applied, before, after, connections } = await services.store.changes.preview(stored);
  return {
    changed: applied.changed,
    pruned: applied.pruned,
    users: effects(services, before, after),
    ...(await connectionEffects(services, applied.affected, connections)),
  };
}

function effects(
  services: AdminServices,
  before: readonly Subject[],
  after: readonly Subject[],
): UserEffect[] {
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
export function effective(services: AdminServices, subject: Subject | undefined): Set<string> {
  if (!subject?.isActive) return new Set();
  const all = subject.isSuperuser ? services.definitions.permissions.list().map(({ name }) => name) : [];
  return new Set([...all, ...subject.permissions]);
}

async function connectionEffects(
  services: AdminServices,
  touched: RevocationTarget | undefined,
  open: readonly ConnectionWithChannels[],
): Promise<Pick<AccessPreview, "connections" | "channels" | "otherApps">> {
  const connections: ConnectionEffect[] = [];
  const channels: ChannelEffect[] = [];
  let otherApps = 0;
  for (const connection of open) {
    const { id, connectionId, userId, view } = connection;
    const effect = { connection: id, connectionId, user: userId, view };
    const result =
      touched && closesEveryConnection(touched.scope) ? undefined : recheckView(services, connection);
    if (result === undefined || result.kind === "lost") connections.push(effect);
    else if (result.kind === "other-app") otherApps++;
    else {
      for (const channel of connection.channels) {
        const { kind } = await recheckChannel(services, connection, channel, HOOK_DEADLINE_MS);
        if (kind === "lost") channels.push({ ...effect, channel });
        else if (kind === "other-app") otherApps++;
      }
    }
  }
  return { connections, channels, otherApps };
}
