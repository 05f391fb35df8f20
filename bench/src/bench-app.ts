import { sql } from "kysely";
import {
  createSallyport,
  defineChannel,
  definePermissions,
  handler,
  type Sallyport,
  type SallyportOptions,
  WebSocketView,
} from "sallyport";
import type { Database } from "../../build/storage/database.js";

/** Secret of the gateway. */
export const SECRET = "s".repeat(64);
/** Number of users. All of them have the permission through one group. */
export const USERS = 1000;

export const chat = definePermissions("chat", { use: "Use", moderate: "Moderate", broadcast: "Broadcast" });

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use, chat.moderate];
  ping = handler(() => "pong");
}

const UNLIMITED = {
  connectsPerUser: false,
  connectionsPerUser: false,
  connectsPerIp: false,
  failedConnectsPerIp: false,
  tokensPerUser: false,
  messagesPerConnection: false,
  messagesPerUser: false,
} as const;

/**
 * Creates the measured app: one view with a rule of two permissions, and one channel definition.
 */
export function benchApp(
  storage: SallyportOptions["storage"],
  options: Partial<SallyportOptions> = {},
): Sallyport {
  return createSallyport({
    storage,
    permissions: [chat],
    channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => null,
    limits: UNLIMITED,
    decisionLog: { sampleAllowed: 0 },
    onDecision: () => undefined,
    ...options,
  });
}

/** Returns the connection id of the connection with this number, counted from 1. */
export function connectionIdAt(n: number): string {
  return `L${1_000_000_000 + n}AAA=`;
}

/**
 * Creates the tables, a gateway, and {@link USERS} users who have the permission through one group.
 */
export async function prepareDatabase(
  app: Sallyport,
  storage: Database,
  endpoint = "http://127.0.0.1:9/dev",
): Promise<void> {
  await app.migrate();
  await app.registerGateway({ name: "bench", endpoint, secret: SECRET });
  await app.access.grant({ group: "Members" }, chat.use);
  await sql`insert into sallyport_users (id, is_active, is_superuser, created_at)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${sql.lit(USERS)})
    select 'u' || i, 1, 0, 0 from n`.execute(storage.db);
  await sql`insert into sallyport_user_groups (user_id, group_name, granted_at)
    select id, 'Members', 0 from sallyport_users where id like 'u%'`.execute(storage.db);
}

/**
 * Inserts open connections in the channel `rooms/all`.
 *
 * @param from number of the first connection
 * @param to number of the last connection
 */
export async function insertConnections(storage: Database, from: number, to: number): Promise<void> {
  await sql`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    with recursive n(i) as (select ${sql.lit(from)} union all select i + 1 from n where i < ${sql.lit(to)})
    select 's' || (1000000000 + i), (select id from sallyport_gateways), 'L' || (1000000000 + i) || 'AAA=', '/ws/chat',
      'u' || (i % ${sql.lit(USERS)} + 1), ${storage.now} - 60000, 0 from n`.execute(storage.db);
  await sql`insert into sallyport_memberships (connection_key, channel, joined_at)
    select id, 'rooms/all', 0 from sallyport_connections
    where id >= ${`s${1_000_000_000 + from}`} and id <= ${`s${1_000_000_000 + to}`}`.execute(storage.db);
}
