import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sql } from "kysely";
import { createSallyport, defineChannel, definePermissions, handler, WebSocketView } from "sallyport";
import { Delivery } from "../../build/delivery/delivery.js";
import { encodeFrame } from "../../build/delivery/frame.js";
import { HttpManagementApi } from "../../build/delivery/management-api.js";
import { sqliteDatabase } from "./database.js";
import { type Figure, figure } from "./figures.js";
import { internalsOf } from "./internals.js";

const RECIPIENTS = 10_000;
const PAGE_SIZE = 500;
const CONCURRENCY = 256;
const ROUNDS = 15;
const WARM_UP_ROUNDS = 3;

const chat = definePermissions("chat", { use: "Use", moderate: "Moderate", broadcast: "Broadcast" });
class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use, chat.moderate];
  ping = handler(() => "pong");
}
class OpenView extends WebSocketView {
  static allowAnonymous = true;
  ping = handler(() => "pong");
}

/** In a child process: a Management API that accepts each call immediately. */
if (process.argv[2] === "management-api") {
  const server = createServer((request, response) => {
    request.resume().on("end", () => response.end());
  });
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
}

/**
 * Measures a send to 10 000 connections with permission checks, in milliseconds.
 *
 * It alternates with the same send without a required permission, and with a loop that reads
 * connection ids and posts to them.
 */
export async function deliveryCost(): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const child = fork(fileURLToPath(import.meta.url), ["management-api"]);
  const port = await new Promise<number>((resolve) =>
    child.once("message", (value) => resolve(value as number)),
  );
  const endpoint = `http://127.0.0.1:${port}/dev`;
  const storage = sqliteDatabase(join(folder, "bench.db"));
  const sallyport = createSallyport({
    onDecision: () => undefined,
    storage,
    permissions: [chat],
    channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => null,
    apiGateway: { maxRequestsPerSecond: false, concurrency: CONCURRENCY },
  });
  const unrestricted = internalsOf(sallyport).with({
    channels: [defineChannel("rooms/:slug", { allowAnonymous: true })],
    views: { "/ws/chat": OpenView },
  });
  await sallyport.migrate();
  await sallyport.registerGateway({ name: "bench", endpoint, secret: "s".repeat(64) });
  await sallyport.access.grant({ group: "Members" }, chat.use);
  await storage.transaction(async (db) => {
    const n = sql`with recursive n(i) as (select 1 union all select i + 1 from n where i < ${sql.lit(RECIPIENTS)})`;
    await sql`insert into sallyport_users (id, is_active, is_superuser, created_at) ${n} select 'u' || i, 1, 0, 0 from n`.execute(
      db,
    );
    await sql`insert into sallyport_user_groups (user_id, group_name, granted_at) select id, 'Members', 0 from sallyport_users`.execute(
      db,
    );
    await sql`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
      ${n} select printf('%08d', i), (select id from sallyport_gateways), printf('%015d=', i), '/ws/chat', 'u' || i,
        unixepoch('subsec') * 1000 - 60000, 0 from n`.execute(db);
    await sql`insert into sallyport_memberships (connection_key, channel, joined_at) select id, 'rooms/all', 0 from sallyport_connections`.execute(
      db,
    );
  });
  const message = { type: "news", text: "x".repeat(100) };
  const api = new HttpManagementApi();
  const delivery = new Delivery(api, { perSecond: Number.POSITIVE_INFINITY, concurrency: CONCURRENCY });

  const sendBy = (app: typeof sallyport) => async () => {
    const { sent } = await app.to({ channel: "rooms/all" }).send(message);
    if (sent !== RECIPIENTS) throw new Error(`Only ${sent} of ${RECIPIENTS} messages were sent.`);
  };
  const manualLoop = async () => {
    const frame = encodeFrame(message);
    for (let after = ""; ; ) {
      const { rows } = await sql<{ id: string; connection_id: string }>`select s.id, s.connection_id
        from sallyport_memberships m join sallyport_connections s on s.id = m.connection_key
        where m.channel = 'rooms/all' and m.connection_key > ${after} and s.closed_at is null
        order by m.connection_key limit ${sql.lit(PAGE_SIZE)}`.execute(storage.db);
      await Promise.all(
        rows.map((row) =>
          delivery.post(
            {
              connectionKey: row.id,
              userId: null,
              connectionId: row.connection_id,
              endpoint,
              connectedAt: 0,
            },
            frame,
          ),
        ),
      );
      after = rows.at(-1)?.id ?? "";
      if (rows.length < PAGE_SIZE) return;
    }
  };
  const variants = [sendBy(sallyport), sendBy(unrestricted), manualLoop];
  const times: number[][] = variants.map(() => []);
  for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round++) {
    // The order rotates.
    for (let turn = 0; turn < variants.length; turn++) {
      const variant = (round + turn) % variants.length;
      const startedAt = performance.now();
      await variants[variant]?.();
      if (round >= WARM_UP_ROUNDS) times[variant]?.push(performance.now() - startedAt);
    }
  }
  child.kill();
  await api.close();
  await sallyport.close();
  await unrestricted.close();
  await rm(folder, { recursive: true, force: true });
  const [checked = [], unchecked = [], manual = []] = times;
  const ratiosTo = (others: readonly number[]) =>
    checked.map((time, round) => time / (others[round] ?? Number.NaN));
  return [
    figure("send to 10 000, every recipient checked", "ms", checked),
    figure("send to 10 000, no permission required", "ms", unchecked),
    figure("a loop that reads ids and posts to 10 000", "ms", manual),
    figure("checked ÷ no permission required, per round", "×", ratiosTo(unchecked), 1.1),
    figure("checked ÷ the loop, per round", "×", ratiosTo(manual)),
  ];
}
