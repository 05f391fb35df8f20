import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { commandLineWith, root } from "./command-line.ts";
import { DevProcess, freePort } from "./dev-process.ts";

const ORIGIN = "http://localhost:3000";

/** An app in TypeScript that reads DATABASE_URL of `.env`. */
const APP = `
import { createSallyport, definePermissions, handler, WebSocketView } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";

export const chat: ReturnType<typeof definePermissions> = definePermissions("chat", { use: "Can use chat" });
class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  whoami = handler(({ user }) => ({ user: user.id, version: 1 }));
}
export const sallyport = createSallyport({
  storage: sqlite(process.env.DATABASE_FILE),
  permissions: [chat],
  views: { "/ws/chat": ChatView },
  origins: ["${ORIGIN}"],
  authenticate: ({ headers }) => ({ userId: headers.get("x-user") ?? "ann" }),
});
`;

/** A function for the events of the WebSocket API and for requests of pages. */
const FUNCTION = `
import { lambdaHandler } from "sallyport/adapters/lambda";
import { sallyport } from "./app.ts";

const webSocket = lambdaHandler(sallyport);
export const handler = async (event: any, context: any) => {
  if (event.version !== "2.0") return webSocket(event, context);
  if (event.rawPath === "/echo") return { statusCode: 201, cookies: ["a=1", "b=2"], headers: { "x-test": "yes" }, body: JSON.stringify(event) };
  if (event.rawPath === "/binary") return { statusCode: 200, isBase64Encoded: true, body: Buffer.from([0, 255]).toString("base64") };
  if (event.rawPath === "/fail") throw new Error("this function fails");
  if (event.rawPath !== "/api/ws-token") return { url: process.env.SALLYPORT_URL, invokePort: process.env.SALLYPORT_INVOKE_PORT };
  const url = "http://" + event.headers.host + event.rawPath;
  const response = await sallyport.fetch(new Request(url, { method: event.requestContext.http.method, headers: event.headers, body: event.body }));
  return { statusCode: response?.status ?? 404, headers: Object.fromEntries(response?.headers ?? []), body: await response?.text() };
};
`;

/** A second view, for the messages of the route `moderate`. */
const MODERATION = `
class ModerationView extends WebSocketView {
  static permissionsRequired = [chat.use];
  moderate = handler(() => "the view of moderation");
}
`;

/** An app with two views. */
const TWO_VIEWS = APP.replace("export const sallyport", `${MODERATION}export const sallyport`).replace(
  '"/ws/chat": ChatView',
  '"/ws/chat": ChatView, "/ws/moderation": ModerationView',
);

/** A gateway at AWS. Its messages name their route in the field `type`. */
const GATEWAY = `gateways: [defineGateway({
  name: "production",
  region: "eu-west-1",
  target: { lambda: "arn:aws:lambda:eu-west-1:123456789012:function:chat" },
  routes: {
    moderate: { lambda: "arn:aws:lambda:eu-west-1:123456789012:function:chat" },
    billing: { service: "https://billing.example.com/ws/billing/default" },
  },
  routeSelectionExpression: "$request.body.type",
})],
  permissions: [chat],`;

let folder: string;
const running: DevProcess[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-lambda-"));
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules/sallyport"));
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ type: "module", sallyport: { app: "app.ts" } }),
  );
  await writeFile(join(folder, ".env"), `DATABASE_FILE=${join(folder, "app.db")}\n`);
  await writeFile(join(folder, "app.ts"), APP);
  await writeFile(join(folder, "function.ts"), FUNCTION);
});
afterEach(async () => {
  for (const dev of running.splice(0)) await dev.end();
  await rm(folder, { recursive: true, force: true });
});

const startDev = (...options: readonly string[]) => startDevWith({}, ...options);

async function startDevWith(variables: Readonly<Record<string, string>>, ...options: readonly string[]) {
  const port = await freePort();
  const args = ["--port", String(port), "--gateway-port", "0", "--lambda", "function.ts", ...options];
  const dev = new DevProcess(folder, args, variables);
  running.push(dev);
  await dev.printed(/accepts connections/);
  return { dev, page: `http://localhost:${port}` };
}

async function connect(page: string): Promise<WebSocket> {
  const { url } = (await (await fetch(page)).json()) as { url: string };
  const response = await fetch(`${page}/api/ws-token`, { method: "POST", headers: { origin: ORIGIN } });
  const { token } = (await response.json()) as { token: string };
  const socket = new WebSocket(`${url}?ws_token=${token}`, { headers: { origin: ORIGIN } });
  await once(socket, "open");
  return socket;
}

async function call(socket: WebSocket, message: object = { handler: "whoami" }): Promise<unknown> {
  const answer = once(socket, "message");
  socket.send(JSON.stringify({ id: 1, ...message }));
  return JSON.parse(String((await answer)[0])).result;
}

const cli = (...args: readonly string[]) => commandLineWith(args, { SALLYPORT_APP: "" }, folder);

describe("sallyport dev --lambda", () => {
  test("invokes the function for WebSocket events and for pages, and reloads it", async () => {
    const { dev, page } = await startDev();
    expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
    const socket = await connect(page);
    await dev.printed(/^200 ann \/ws\/chat connected \d+ ms$/m);
    expect(await call(socket)).toEqual({ user: "ann", version: 1 });

    await writeFile(join(folder, "app.ts"), APP.replace("version: 1", "version: 2"));
    // The connection stays open, because the gateway holds it.
    await expect.poll(() => call(socket)).toEqual({ user: "ann", version: 2 });

    const closed = once(socket, "close");
    expect((await cli("users", "revoke", "ann", "chat.use")).code).toBe(0);
    await closed;
    await dev.printed(/^403 ann \/ws\/chat lost chat\.use /m);
  });

  describe("with several views", () => {
    beforeEach(() =>
      writeFile(
        join(folder, "function.ts"),
        FUNCTION.replace(
          "lambdaHandler(sallyport)",
          'lambdaHandler(sallyport, { view: "/ws/chat", routes: { moderate: "/ws/moderation" } })',
        ),
      ),
    );

    test("sends the messages of a route in --route to its view", async () => {
      await writeFile(join(folder, "app.ts"), TWO_VIEWS);
      const { dev, page } = await startDev("--route", "moderate", "--route", "moderate", "--route", "other");
      expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
      const socket = await connect(page);
      expect(await call(socket, { action: "moderate" })).toBe("the view of moderation");
      expect(await call(socket, { action: "whoami" })).toMatchObject({ user: "ann" });
      await dev.printed(/^200 ann moderate moderate \d+ ms$/m);
      await dev.printed(/^200 ann \/ws\/chat whoami \d+ ms$/m);
    });

    test("has the routes of the gateway that the app defines", async () => {
      const app = TWO_VIEWS.replace("permissions: [chat],", GATEWAY);
      await writeFile(join(folder, "app.ts"), `import { defineGateway } from "sallyport/aws";\n${app}`);
      const { page } = await startDev();
      expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
      const socket = await connect(page);
      expect(await call(socket, { type: "moderate", handler: "moderate" })).toBe("the view of moderation");
      expect(await call(socket, { action: "whoami" })).toMatchObject({ user: "ann" });
    });
  });

  test("stores new permissions of an app in TypeScript, also after an error in one of its files", async () => {
    const definition = APP.split("\n").find((line) => line.includes("definePermissions(")) ?? "";
    const withImport = `import { chat } from "./permissions.ts";\n${APP.replace(definition, "")}`;
    const permissions = `import { definePermissions } from "sallyport";\n${definition}\n`;
    await writeFile(join(folder, "permissions.ts"), permissions);
    await writeFile(join(folder, "app.ts"), withImport);
    const { dev, page } = await startDev();
    await writeFile(join(folder, "permissions.ts"), "export const chat = = 1;\n");
    await dev.printed(/^The database was not updated: .*permissions\.ts/m);
    await writeFile(
      join(folder, "permissions.ts"),
      permissions.replace("{ use:", '{ manage: "Can manage", use:'),
    );
    await dev.printed(/^The database was updated: permission chat\.manage added\.$/m);
    await writeFile(join(folder, "app.ts"), withImport.replace("[chat.use]", "[chat.manage]"));
    await dev.printed(/^The database was updated: view \/ws\/chat changed\.$/m);
    expect((await cli("users", "grant", "ann", "chat.manage")).code).toBe(0);
    expect(await call(await connect(page))).toEqual({ user: "ann", version: 1 });
    const app = withImport.replace("permissions: [chat],", GATEWAY);
    await writeFile(join(folder, "app.ts"), `import { defineGateway } from "sallyport/aws";\n${app}`);
    await dev.printed(/^The routes of the gateway changed\. Start dev again to use them\.$/m);
  });

  test("reads .env once", async () => {
    const preload = join(folder, "preload.mjs");
    await writeFile(
      preload,
      `const { loadEnvFile } = process;
      process.loadEnvFile = (file) => {
        if (process.argv[2] === "dev") process.stderr.write("reads " + file + "\\n");
        loadEnvFile.call(process, file);
      };`,
    );
    const { dev } = await startDevWith({ NODE_OPTIONS: `--import ${preload}` });
    expect(dev.err.match(/^reads .*\.env$/gm)).toHaveLength(1);
  });

  test.each([
    [
      "$connect",
      /Use a custom route key of 1 to 128 characters that does not begin with \$, such as "moderate"/,
    ],
    [" ", /Use a custom route key/],
  ])("rejects %j as --route", async (key, words) => {
    const dev = new DevProcess(folder, ["--lambda", "function.ts", "--route", key]);
    running.push(dev);
    expect(await dev.exited).toBe(1);
    expect(dev.err).toMatch(words);
  });

  test("rejects --route without --lambda", async () => {
    const dev = new DevProcess(folder, ["--route", "moderate", "--", "node", "server.js"]);
    running.push(dev);
    expect(await dev.exited).toBe(1);
    expect(dev.err).toBe(
      "sallyport: --route needs --lambda, because each view of a server has a gateway of its own. Remove --route.\n",
    );
  });

  test("passes requests to the function in the payload format 2.0", async () => {
    const { page } = await startDev();
    const response = await fetch(`${page}/echo?a=1&a=2&b=%20`, {
      method: "PUT",
      headers: { cookie: "x=1; y=2", "content-type": "application/json" },
      body: '{"text":"ä"}',
    });
    expect(response.status).toBe(201);
    expect(response.headers.get("x-test")).toBe("yes");
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect(await response.json()).toMatchObject({
      rawPath: "/echo",
      rawQueryString: "a=1&a=2&b=%20",
      queryStringParameters: { a: "1,2", b: " " },
      cookies: ["x=1", "y=2"],
      requestContext: { http: { method: "PUT", path: "/echo" } },
      body: '{"text":"ä"}',
      isBase64Encoded: false,
    });
    expect([...new Uint8Array(await (await fetch(`${page}/binary`)).arrayBuffer())]).toEqual([0, 255]);
  });

  test("answers 502 when the function fails, and prints its error", async () => {
    const { dev, page } = await startDev();
    expect((await fetch(`${page}/fail`)).status).toBe(502);
    await dev.printed(/this function fails/);
    expect((await fetch(page)).status).toBe(200);
  });

  test("names a file that exports no handler", async () => {
    await writeFile(join(folder, "function.ts"), "export const handle = 1;\n");
    const dev = new DevProcess(folder, [
      ...["--port", String(await freePort()), "--gateway-port", "0", "--lambda", "function.ts"],
    ]);
    running.push(dev);
    await dev.printed(/function\.ts exports no function "handler"\. Add: export const handler/);
    // It is loaded again after the file was corrected.
    await writeFile(join(folder, "function.ts"), FUNCTION);
    await dev.printed(/accepts connections/);
  });

  test("does not override a variable that is set with one of .env", async () => {
    const other = join(folder, "other.db");
    expect(
      (await commandLineWith(["migrate"], { SALLYPORT_APP: "", DATABASE_FILE: other }, folder)).code,
    ).toBe(0);
    expect((await readFile(other)).length).toBeGreaterThan(0);
    await expect(readFile(join(folder, "app.db"))).rejects.toThrow("ENOENT");
  });

  test("uses .env.local before .env", async () => {
    const local = join(folder, "local.db");
    await writeFile(join(folder, ".env.local"), `DATABASE_FILE=${local}\n`);
    expect((await cli("migrate")).code).toBe(0);
    expect((await readFile(local)).length).toBeGreaterThan(0);
  });

  test("rejects invocations without the key of the run, such as those of web pages", async () => {
    const { page } = await startDev();
    const { invokePort } = (await (await fetch(page)).json()) as { invokePort: string };
    const event = { requestContext: { eventType: "MESSAGE", connectionId: "of another user" } };
    const response = await fetch(`http://127.0.0.1:${invokePort}/2015-03-31/functions/function/invocations`, {
      method: "POST",
      headers: { "content-type": "text/plain", origin: "https://other.example.com" },
      body: JSON.stringify(event),
    });
    expect(response.status).toBe(403);
  });

  test("passes the body of an office document as Base64", async () => {
    const { page } = await startDev();
    const type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    const body = Buffer.from([0xff, 0xfe, 0]);
    const response = await fetch(`${page}/echo`, { method: "POST", headers: { "content-type": type }, body });
    expect(await response.json()).toMatchObject({ isBase64Encoded: true, body: body.toString("base64") });
  });
});
