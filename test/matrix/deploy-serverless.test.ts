import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { freePort } from "../../bench/src/free-port.ts";
import { startServer, type TestServer } from "../../bench/src/postgres-server.ts";
import { commandEnv, run } from "./commands.ts";
import { EXAMPLES } from "./deploy-examples.ts";
import { copyBeside, installBeside, type Untyped } from "./installed-beside.ts";

const root = resolve(import.meta.dirname, "../..");
const ORIGIN = "https://www.example.com";
const SESSION_KEY = "a key";

let packages: string;
let folder: string;
let service: string;
let database: TestServer;
let env: Record<string, string>;

beforeAll(async () => {
  packages = await installBeside("serverless");
  folder = await copyBeside(packages, EXAMPLES);
  service = join(folder, "serverless");
  database = await startServer();
  env = {
    ...{ DATABASE_URL: database.url, ORIGINS: ORIGIN, SESSION_KEY },
    ...{ AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test", AWS_REGION: "eu-west-1" },
    ...{ SLS_TELEMETRY_DISABLED: "1", SLS_NOTIFICATIONS_MODE: "off" },
  };
  const { bundle } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).scripts;
  const bins = [join(root, "node_modules/.bin")];
  await run(["sh", "-c", `${bundle} --outdir=serverless/bundle --log-level=error`], { cwd: folder, bins });
});
afterAll(async () => {
  await database?.stop();
  await rm(folder, { recursive: true, force: true });
});

const serverless = () => [process.execPath, join(packages, "node_modules/serverless/bin/serverless.js")];

test("the Serverless Framework packages the service, with the routes and the schedule of the gateway", async () => {
  await run([...serverless(), "package"], { cwd: service, env });
  const file = join(service, ".serverless/cloudformation-template-update-stack.json");
  const { Resources } = JSON.parse(readFileSync(file, "utf8"));
  const all = (type: string): Untyped[] =>
    Object.values<Untyped>(Resources)
      .filter(({ Type }) => Type === type)
      .map(({ Properties }) => Properties);
  const routes = all("AWS::ApiGatewayV2::Route").filter(({ RouteKey }) => RouteKey.startsWith("$"));
  expect(
    routes
      .map(({ RouteKey, RouteResponseSelectionExpression }) => [RouteKey, RouteResponseSelectionExpression])
      .sort(),
  ).toEqual([
    ["$connect", undefined],
    ["$default", "$default"],
    ["$disconnect", undefined],
  ]);
  expect(all("AWS::ApiGatewayV2::RouteResponse")).toHaveLength(1);
  expect(
    all("AWS::Events::Rule")
      .map(({ ScheduleExpression }) => ScheduleExpression)
      .sort(),
  ).toEqual(["rate(1 hour)", "rate(1 minute)"]);
  const actions = all("AWS::IAM::Role").flatMap(({ Policies }) =>
    Policies.flatMap(({ PolicyDocument }: Untyped) =>
      PolicyDocument.Statement.flatMap(({ Action }: Untyped) => Action),
    ),
  );
  expect(actions).toContain("execute-api:ManageConnections");
});

test("serverless-offline connects a user, answers a call and delivers a message", async () => {
  const [httpPort, webSocketPort, lambdaPort] = [await freePort(), await freePort(), await freePort()];
  const offline = spawn(
    serverless()[0] ?? "",
    [
      ...serverless().slice(1),
      ...["offline", "--httpPort", `${httpPort}`, "--websocketPort", `${webSocketPort}`],
      ...["--lambdaPort", `${lambdaPort}`],
    ],
    { cwd: service, env: commandEnv({ cwd: service, env }), stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  for (const stream of [offline.stdout, offline.stderr]) stream.on("data", (data) => (output += data));
  try {
    await expect.poll(() => output).toContain("Server ready");
    await register(`http://localhost:${webSocketPort}`);
    const signature = createHmac("sha256", SESSION_KEY).update("ann.s1").digest("hex");
    const response = await fetch(`http://localhost:${httpPort}/api/ws-token`, {
      method: "POST",
      headers: { origin: ORIGIN, cookie: `session=ann.s1.${signature}` },
    });
    expect(response.status).toBe(200);
    const { token } = (await response.json()) as { token: string };
    const socket = new WebSocket(`ws://localhost:${webSocketPort}?ws_token=${token}`, { origin: ORIGIN });
    const messages: unknown[] = [];
    socket.on("message", (data) => messages.push(JSON.parse(String(data))));
    await once(socket, "open");
    socket.send(JSON.stringify({ id: 1, handler: "whoami" }));
    await expect
      .poll(() => messages)
      .toContainEqual(expect.objectContaining({ id: 1, result: { user: "ann" } }));
    socket.send(JSON.stringify({ id: 2, handler: "say", text: "hello" }));
    await expect.poll(() => messages).toContainEqual({ type: "said", by: "ann", text: "hello" });
    socket.close();
  } catch (error) {
    throw new Error(`${(error as Error).message}\nserverless-offline printed:\n${output.slice(-4000)}`, {
      cause: error,
    });
  } finally {
    await stop(offline);
  }
});

/** Creates the tables, registers the API of serverless-offline and permits the user. */
async function register(endpoint: string): Promise<void> {
  const gateway = { name: "chat production", apiId: "private", stage: "local", endpoint };
  const script = join(folder, "migrate.cjs");
  await writeFile(
    script,
    'require("./serverless/bundle/migrate-lambda.cjs").handler().then(() => process.exit(0));',
  );
  const cwd = folder;
  await run([process.execPath, script], { cwd, env: { ...env, SALLYPORT_GATEWAY: JSON.stringify(gateway) } });
  const cli = join(packages, "node_modules/sallyport/bin/sallyport.js");
  const grant = ["users", "grant", "ann", "chat.can_use_chat", "--app", "app/sallyport.ts"];
  await run([process.execPath, cli, ...grant], { cwd, env });
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const exited = once(server, "exit");
  server.kill("SIGKILL");
  await exited;
}
