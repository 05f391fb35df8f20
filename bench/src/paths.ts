/**
 * `npm run bench:paths`: counts the files, functions and calls of each of five paths. `--files`
 * also prints the files.
 */
import { Session } from "node:inspector/promises";
import { fileURLToPath } from "node:url";
import {
  createSallyport,
  defineChannel,
  definePermissions,
  handler,
  WebSocketView,
} from "../../build/index.js";
import { sqlite } from "../../build/storage/sqlite.js";

const BUILD = fileURLToPath(new URL("../../build/", import.meta.url));
const SECRET = "s".repeat(64);
const ORIGIN = "https://www.example.com";
const chat = definePermissions("chat", { use: "Can use chat" });

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  static override defaultChannel = "rooms/general";
  echo = handler(() => ({ text: "hello" }));
  say = handler(async ({ to }) => {
    await to({ channel: "rooms/general" }).send({ type: "message", text: "hello" });
  });
}

const succeed = async () => ({ kind: "ok" }) as const;
const sallyport = createSallyport({
  storage: sqlite(":memory:"),
  permissions: [chat],
  channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
  views: { "/ws/chat": ChatView },
  origins: [ORIGIN],
  authenticate: ({ headers }) => ({ userId: headers.get("x-user") ?? "ann" }),
  decisionLog: { sampleAllowed: 0 },
  onDecision: () => undefined,
  apiGateway: { client: { post: succeed, delete: succeed, close: async () => undefined } },
});
await sallyport.migrate();
const endpoint = "https://example.execute-api.eu-west-1.amazonaws.com/prod";
await sallyport.registerGateway({ name: "main", endpoint, secret: SECRET });

let connectionCount = 0;

async function request(path: string, headers: Record<string, string>, body = ""): Promise<Response> {
  const response = await sallyport.fetch(new Request(`http://app${path}`, { method: "POST", headers, body }));
  if (response?.status !== 200) throw new Error(`${path}: ${response?.status} ${await response?.text()}`);
  return response;
}

const sendEvent = (route: string, connectionId: string, user: string, body?: string) =>
  request(
    `/ws/chat/${route}`,
    {
      connectionId,
      origin: ORIGIN,
      "x-user": user,
      "x-sallyport-secret": SECRET,
      "x-sallyport-stage": "prod",
      "x-sallyport-source-ip": "192.0.2.1",
    },
    body,
  );

const fetchToken = async (user: string) => {
  const response = await request("/api/ws-token", { origin: ORIGIN, "x-user": user });
  return ((await response.json()) as { token: string }).token;
};

async function connect(user: string): Promise<string> {
  const connectionId = `connection-${++connectionCount}`;
  await sendEvent(`connect?ws_token=${await fetchToken(user)}`, connectionId, user);
  return connectionId;
}

/** Each function prepares a path and returns the function that runs it. */
const PATHS: Readonly<Record<string, () => Promise<() => Promise<unknown>>>> = {
  message: async () => {
    const id = await connect("ann");
    return () => sendEvent("default", id, "ann", '{"handler":"echo","id":1}');
  },
  connect: async () => {
    const path = `connect?ws_token=${await fetchToken("ann")}`;
    return () => sendEvent(path, `connection-${++connectionCount}`, "ann");
  },
  "message with send": async () => {
    const id = await connect("ann");
    return async () => {
      await sendEvent("default", id, "ann", '{"handler":"say","id":1}');
      await sallyport.flush();
    };
  },
  revoke: async () => {
    await sallyport.access.grant("bob", chat.use);
    await connect("bob");
    return () => sallyport.access.revoke("bob", chat.use);
  },
  token: async () => () => fetchToken("ann"),
};

await sallyport.access.grant("ann", chat.use);
const inspector = new Session();
inspector.connect();
await inspector.post("Profiler.enable");
await inspector.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
console.log("path | files | outside storage/ | functions | calls");
for (const [name, prepare] of Object.entries(PATHS)) {
  // The first runs prepare statements and fill caches.
  for (let round = 0; round < 3; round++) await (await prepare())();
  const run = await prepare();
  await sallyport.flush();
  await inspector.post("Profiler.takePreciseCoverage");
  await run();
  const { result } = await inspector.post("Profiler.takePreciseCoverage");
  const files = new Set<string>();
  let [functions, calls] = [0, 0];
  for (const { url, functions: covered } of result) {
    if (!url.startsWith("file:") || !fileURLToPath(url).startsWith(BUILD)) continue;
    for (const { functionName, ranges } of covered) {
      const count = ranges[0]?.count ?? 0;
      if (functionName === "" || count === 0) continue;
      files.add(url);
      functions++;
      calls += count;
    }
  }
  const names = [...files].map((url) => fileURLToPath(url).slice(BUILD.length));
  const outside = names.filter((file) => !file.startsWith("storage/"));
  console.log([name, names.length, outside.length, functions, calls].join(" | "));
  if (process.argv.includes("--files")) console.log(names.map((file) => `  ${file}`).join("\n"));
}
await sallyport.close();
