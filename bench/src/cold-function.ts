/**
 * Prints the time from the first import to the first response of a Lambda function, in
 * milliseconds. The first argument is `sallyport`, or `baseline` for `pg` with one statement.
 */

const startedAt = performance.now();
const [variant = "", source = ""] = process.argv.slice(2);

async function runSallyport(): Promise<void> {
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

/** Opens one connection and runs one statement. */
async function runBaseline(): Promise<void> {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: source });
  await client.connect();
  await client.query("select id from sallyport_connections where connection_id = $1", [
    process.env.CONNECTION,
  ]);
}

await (variant === "sallyport" ? runSallyport() : runBaseline());
console.log(performance.now() - startedAt);
process.exit();
