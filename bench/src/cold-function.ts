/** A function in a fresh process, from its imports to its first answer, in milliseconds: ours, or one statement alone. */

const begun = performance.now();
const [what = "", source = ""] = process.argv.slice(2);

async function ours(): Promise<void> {
  const { createSallyport, definePermissions, handler, WebSocketView } = await import("sallyport");
  const { lambdaHandler } = await import("sallyport/adapters/lambda");
  const { postgres } = await import("sallyport/storage/postgres");
  const chat = definePermissions("chat", { use: "Use", moderate: "Moderate", broadcast: "Broadcast" });
  class ChatView extends WebSocketView {
    static permissionsRequired = [chat.use, chat.moderate];
    ping = handler(() => "pong");
  }
  const sallyport = createSallyport({
    onDecision: () => undefined,
    storage: postgres(source, { listen: false, poolSize: 2 }),
    permissions: [chat],
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => null,
  });
  const { statusCode, body } = await lambdaHandler(sallyport)({
    requestContext: {
      eventType: "MESSAGE",
      routeKey: "$default",
      connectionId: process.env.CONNECTION as string,
      apiId: "bench",
      stage: "dev",
    },
    body: '{"handler":"ping"}',
  });
  if (statusCode !== 200) throw new Error(`${statusCode}: ${body}`);
}

/** What no app on a database can do without. */
async function bare(): Promise<void> {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: source });
  await client.connect();
  await client.query("select id from sallyport_connections where connection_id = $1", [
    process.env.CONNECTION,
  ]);
}

await (what === "ours" ? ours() : bare());
console.log(performance.now() - begun);
process.exit();
