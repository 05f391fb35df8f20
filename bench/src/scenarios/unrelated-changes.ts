import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createSallyport, defineChannel, handler, type Sallyport, WebSocketView } from "sallyport";
import { benchApp, chat, connectionIdAt, insertConnections, prepareDatabase, SECRET } from "../bench-app.js";
import { sqliteDatabase } from "../database.js";
import { EVENT_OPTIONS } from "../event-app.js";
import { type Figure, figure } from "../figures.js";

/** Duration of each call of `authorize`, in milliseconds. */
const AUTHORIZE_MS = 50;
/** Time between two changes of other users or channels, in milliseconds. */
const CHANGE_INTERVAL_MS = 20;
const EVENTS = 20;

async function authorize(): Promise<true> {
  await sleep(AUTHORIZE_MS);
  return true;
}

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  enter = handler(async ({ join: enter }) => enter("rooms/slow"));
  checked = handler({ authorize }, () => "done");
}

/**
 * Measures connects to a channel, joins and messages with an `authorize` of 50 ms, in milliseconds,
 * while another instance grants permissions to other users and checks another channel again.
 */
export async function unrelatedChanges(): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const file = join(folder, "bench.db");
  const storage = sqliteDatabase(file);
  const app = createSallyport({
    storage,
    permissions: [chat],
    channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use], authorize })],
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => ({ userId: "u1" }),
    decisionLog: { sampleAllowed: 0 },
    onDecision: () => undefined,
    ...EVENT_OPTIONS,
    limits: { ...EVENT_OPTIONS.limits, tokensPerUser: false },
  });
  const other = benchApp(sqliteDatabase(file));
  await prepareDatabase(app, storage);
  await insertConnections(storage, 1, 1);
  const quiet = await measure(app);
  let isChanging = true;
  const changing = (async () => {
    for (let n = 0; isChanging; n++) {
      await other.access.grant(`other-${n}`, chat.use);
      await other.access.recheck({ channel: "rooms/other" });
      await sleep(CHANGE_INTERVAL_MS);
    }
  })();
  const busy = await measure(app);
  isChanging = false;
  await changing;
  await app.close();
  await other.close();
  await rm(folder, { recursive: true, force: true });
  const kinds = ["connect", "join", "message"] as const;
  return [
    ...kinds.flatMap((kind) => [
      figure(`${kind} with authorize, no other change`, "ms", quiet[kind]),
      figure(`${kind} with authorize, other users change`, "ms", busy[kind]),
    ]),
    figure("events that failed", "", [quiet.failed + busy.failed], 0),
  ];
}

interface Measured {
  readonly connect: number[];
  readonly join: number[];
  readonly message: number[];
  failed: number;
}

async function measure(app: Sallyport): Promise<Measured> {
  const measured: Measured = { connect: [], join: [], message: [], failed: 0 };
  for (let n = 0; n < EVENTS; n++) {
    const response = await app.fetch(new Request("http://bench/api/ws-token", { method: "POST" }));
    if (response?.status !== 200) throw new Error(`A token request returned status ${response?.status}.`);
    const { token } = (await response.json()) as { token: string };
    const id = `${randomBytes(11).toString("base64url")}=`;
    const events = [
      ["connect", `connect?ws_token=${token}&channel=rooms/slow`, id, undefined],
      ["join", "default", connectionIdAt(1), { handler: "enter" }],
      ["message", "default", connectionIdAt(1), { handler: "checked" }],
    ] as const;
    for (const [kind, route, connectionId, body] of events) {
      const startedAt = performance.now();
      if ((await statusOf(app, route, connectionId, body)) !== 200) measured.failed++;
      measured[kind].push(performance.now() - startedAt);
    }
  }
  return measured;
}

async function statusOf(app: Sallyport, route: string, connectionId: string, body: object | undefined) {
  const response = await app.fetch(
    new Request(`http://bench/ws/chat/${route}`, {
      method: "POST",
      headers: { connectionId, "x-sallyport-secret": SECRET, "x-sallyport-source-ip": "192.0.2.1" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  await response?.arrayBuffer();
  return response?.status;
}
