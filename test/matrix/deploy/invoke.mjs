// Invokes the bundled functions of a recipe as AWS does, against the database at DATABASE_URL. Prints
// what each of them returned. Arguments: the paths of the bundles as JSON, and the folder of the app.
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

const [bundles, app] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const handlers = Object.fromEntries(
  Object.entries(JSON.parse(bundles)).map(([name, file]) => [name, require(file).handler]),
);
const { sallyport } = await import(join(app, "sallyport.js"));
const { chat } = await import(join(app, "permissions.js"));

const { apiId, stage } = JSON.parse(process.env.SALLYPORT_GATEWAY);
const origin = "https://www.example.com";
const signature = createHmac("sha256", process.env.SESSION_KEY).update("ann.s1").digest("hex");

await handlers.Migrate({});
await sallyport.access.grant("ann", chat.can_use_chat);

const token = await handlers.Token(
  {
    version: "2.0",
    routeKey: "POST /api/ws-token",
    rawPath: "/api/ws-token",
    rawQueryString: "",
    cookies: [`session=ann.s1.${signature}`],
    headers: { host: "api.example.com", origin },
    requestContext: {
      domainName: "api.example.com",
      http: { method: "POST", path: "/api/ws-token", sourceIp: "192.0.2.1" },
    },
    isBase64Encoded: false,
  },
  {},
);
const webSocketEvent = (eventType, routeKey, rest) => ({
  requestContext: {
    ...{ eventType, routeKey, apiId, stage, connectionId: "L0SM9cOFvHcCIhw=", requestId: "R0oXAdfD0kwCH6w=" },
    identity: { sourceIp: "192.0.2.1" },
  },
  isBase64Encoded: false,
  ...rest,
});
const connected = await handlers.Chat(
  webSocketEvent("CONNECT", "$connect", {
    headers: { origin },
    queryStringParameters: { ws_token: JSON.parse(token.body).token },
  }),
);
const answered = await handlers.Chat(
  webSocketEvent("MESSAGE", "$default", { body: JSON.stringify({ id: 1, handler: "whoami" }) }),
);
const scheduled = await handlers.Chat({ source: "aws.events", "detail-type": "Scheduled Event" });
await handlers.Cleanup({});
console.log(
  JSON.stringify({
    token: token.statusCode,
    connected: connected.statusCode,
    answer: JSON.parse(answered.body),
    scheduled: scheduled.statusCode,
  }),
);
process.exit(0);
