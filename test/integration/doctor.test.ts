import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { createSallyport, WebSocketView } from "../../src/index.ts";
import { Clock } from "../aws/control-plane/rates.ts";
import { ControlPlane } from "../aws/control-plane/server.ts";
import { emptyDatabase, isPostgres, NOW, sqlAt, storageAt, type TestDatabase } from "../postgres/database.ts";
import { commandLineWith, type Printed, root } from "./command-line.ts";

const APP = join(root, "test/processes/doctor-app.js");
const PAGE = "http://localhost:3000";
/** Nothing listens on port 2. Port 1 is one of the ports that fetch() rejects. */
const CLOSED = "http://127.0.0.1:2";
const WITHOUT_NETWORK = pathToFileURL(join(root, "test/processes/without-network.js"));
const HOUR_MS = 3_600_000;
const GATEWAY = { name: "local", secret: "0123456789abcdef0123456789abcdef" };
const REMOTE = "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/production";

let database: TestDatabase;
let folder: string;
beforeEach(async () => {
  database = await emptyDatabase();
  folder = await mkdtemp(join(tmpdir(), "sallyport-doctor-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
  await database.drop();
});

interface Result {
  readonly check: string;
  readonly status: string;
  readonly message: string;
  readonly fix?: string;
}

/** Environment variables. `undefined` removes a variable. */
type Variables = Readonly<Record<string, string | undefined>>;

/** Runs a command on the app of the test, without AWS credentials. */
function sallyport(args: readonly string[], variables: Variables = {}): Promise<Printed> {
  const env = {
    SALLYPORT_APP: APP,
    TEST_DATABASE: database.source,
    HOME: folder,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_ACCESS_KEY_ID: "",
    AWS_SECRET_ACCESS_KEY: "",
    AWS_PROFILE: "",
    PORT: "2",
    NODE_OPTIONS: `--import=${WITHOUT_NETWORK}`,
    NODE_NO_WARNINGS: "1",
    ...variables,
  };
  return commandLineWith(args, env, folder);
}

/** Runs `doctor --json` and returns its exit code and its results by check. */
async function doctor(args: readonly string[] = [], variables: Variables = {}) {
  const { code, out } = await sallyport(["doctor", "--json", ...args], variables);
  const { ok, checks } = JSON.parse(out) as { ok: boolean; checks: readonly Result[] };
  expect(ok).toBe(code === 0);
  const of = (check: string) => checks.filter((result) => result.check === check);
  return { code, checks, of, one: (check: string) => of(check)[0] };
}

const migrate = (variables?: Variables) => sallyport(["migrate"], variables);

/** Registers a gateway, as `dev` and `gateway apply` do. */
async function register(...gateways: { readonly name: string; readonly endpoint: string }[]): Promise<void> {
  class AnyView extends WebSocketView {
    static override signedIn = true;
    static override receiveOnly = true;
  }
  const app = createSallyport({
    storage: storageAt(database.source),
    permissions: [],
    views: { "/ws/any": AnyView },
    authenticate: () => null,
    allowMissingOrigin: true,
  });
  for (const gateway of gateways)
    await app.registerGateway({ ...gateway, secret: `${GATEWAY.secret}${gateway.name}` });
  await app.close();
}

/** Answers a GET request as the token endpoint of Sallyport does. */
const tokenEndpoint: RequestListener = (_request, response) =>
  response.writeHead(405, { allow: "POST, OPTIONS" }).end();

/** Serves a page and a token endpoint on a free port, and returns its URL and the received requests. */
async function servePage(listener: RequestListener, endpoint: RequestListener = tokenEndpoint) {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    (request.url === "/api/ws-token" ? endpoint : listener)(request, response);
  });
  await new Promise<void>((done) => server.listen(0, "localhost", done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://localhost:${port}`, requests };
}

const registerLocal = () => register({ name: "local", endpoint: "http://127.0.0.1:3001/dev" });

describe("sallyport doctor", () => {
  test("passes for an app that is set up for local development", async () => {
    await migrate();
    const { url, port } = await servePage((_request, response) => response.end("A page."));
    await register({ name: "local", endpoint: `http://127.0.0.1:${port}/dev` });
    const variables = { DOCTOR_OPTIONS: JSON.stringify({ origins: [url] }) };
    const { code, out, err } = await sallyport(["doctor", "--page", url], variables);
    expect(err).toBe("The app prints this line.\n");
    expect(out.split("\n").map((line) => line.slice(0, 14).trimEnd())).toEqual([
      "✔ node",
      "✔ app",
      "✔ database",
      "✔ migrations",
      "✔ rules",
      "✔ tokens",
      "✔ page",
      "✔ page",
      "✔ origins",
      "✔ hosts",
      "✔ gateways",
      "- definitions",
      "- dns",
      "- iam",
      "✔ clean-up",
      "",
      "0 failed, 3 sk",
      "",
    ]);
    expect(out).toContain("The app is loaded. Views: /ws/chat.");
    expect(out).toContain("The app denies POST /api/ws-token without a session (401).");
    expect(out).toContain(`${url} answers with status 200.\n`);
    expect(out).toContain(`Pages of ${url} are allowed to connect.`);
    expect(out).toContain(`ws://localhost:${port}/dev (gateway "local") have the same host name.`);
    expect(code).toBe(0);
  });

  test("prints one JSON document with --json, also if the app prints something", async () => {
    await migrate();
    const { code, out } = await sallyport(["doctor", "--json"]);
    const report = JSON.parse(out) as { ok: boolean; checks: Result[] };
    expect(out.trimEnd()).not.toContain("\n");
    expect(report).toEqual({
      ok: false,
      checks: expect.arrayContaining([
        { check: "node", status: "ok", message: expect.stringContaining(process.versions.node) },
        {
          check: "gateways",
          status: "failed",
          message:
            "No gateway is registered in this database, so each connect is denied with 403 (reason caller).",
          fix: expect.stringContaining("npx sallyport dev -- <command of your server>"),
        },
      ]),
    });
    expect(code).toBe(1);
  });

  test("prints a fix below each line that is not ok, and no color outside of a terminal", async () => {
    const { out } = await sallyport(["doctor"]);
    expect(out).toContain(
      "✘ migrations   The database lacks the migrations 0001_baseline, 0002_lost_channels.\n               → npx sallyport migrate\n",
    );
    expect(out).not.toContain("\u001b");
  });

  test("changes nothing: it creates no table, no file and no row", async () => {
    const { code, one } = await doctor(["--production"]);
    expect(code).toBe(1);
    expect(one("migrations")).toMatchObject({ status: "failed", fix: "npx sallyport migrate" });
    expect(one("gateways")).toMatchObject({
      status: "skipped",
      message: 'The check "migrations" failed, and this one needs the tables.',
    });
    if (isPostgres) {
      const tables = await sqlAt(
        database.source,
        "select tablename from pg_tables where schemaname = current_schema()",
      );
      expect(tables).toEqual([]);
    } else {
      expect(existsSync(database.source)).toBe(false);
    }
    await migrate();
    const rows = () =>
      Promise.all(
        ["audit", "counters", "decisions", "tokens", "users"].map((table) =>
          sqlAt(database.source, `select * from sallyport_${table}`),
        ),
      );
    const before = await rows();
    await doctor(["--production", "--page", PAGE]);
    expect(await rows()).toEqual(before);
  });

  test("names declared permissions and rules that the database lacks", async () => {
    await migrate();
    await sqlAt(
      database.source,
      'update sallyport_rules set rule = \'{"signedIn":true,"anyOf":[],"allOf":[],"hasAuthorize":false}\' where kind = \'view\'',
    );
    const { of } = await doctor([], { DOCTOR_PERMISSION: "can_invite" });
    expect(of("rules")).toMatchObject([
      {
        status: "failed",
        message: "The code declares permissions that are not in the database: chat.can_invite.",
        fix: "npx sallyport migrate",
      },
      {
        status: "warning",
        message: expect.stringContaining("view /ws/chat"),
        fix: expect.stringContaining("permissions diff"),
      },
    ]);
  });

  test("names the script that starts the PostgreSQL server of the app", async () => {
    const scripts = { build: "tsc", develop: "sallyport dev --embedded-postgres -- tsx server.ts" };
    await writeFile(join(folder, "package.json"), JSON.stringify({ packageManager: "pnpm@9.0.0", scripts }));
    const source = "postgres://ann:s3cret@127.0.0.1:1/chat";
    const variables = { TEST_DATABASE: source, DATABASE_URL: source };
    const advice = "pnpm develop starts this server. Keep it running, and repeat the command.";
    expect((await doctor([], variables)).one("database")).toMatchObject({ fix: advice });
    expect((await sallyport(["users", "list"], variables)).err).toMatch(
      /ECONNREFUSED.* pnpm develop starts this server\. Keep it running, and repeat the command\.\n$/,
    );
    // That script starts no server on another machine.
    const remote = { ...variables, DATABASE_URL: "postgres://ann:s3cret@db.example.com/chat" };
    expect((await sallyport(["users", "list"], remote)).err).not.toContain("pnpm develop");
    expect((await doctor(["--production"], variables)).one("database")?.fix).not.toContain("pnpm develop");
  });

  test("reports a database that cannot be reached, and skips what needs its tables", async () => {
    const file = join(folder, "no-database.db");
    await writeFile(file, "This is not a database, but long enough for a header.".repeat(10));
    const sources = [
      ["postgres://ann:s3cret@127.0.0.1:1/chat", /ECONNREFUSED/],
      [file, /SQLITE_NOTADB/],
    ] as const;
    for (const [source, reason] of sources) {
      const { code, one, checks } = await doctor([], { TEST_DATABASE: source });
      expect(code).toBe(1);
      expect(one("database")).toMatchObject({
        status: "failed",
        message: expect.stringMatching(reason),
        fix: expect.stringContaining("Start the database"),
      });
      expect(one("migrations")).toMatchObject({ status: "skipped" });
      expect(one("clean-up")).toMatchObject({
        status: "skipped",
        message: 'The check "database" failed, and this one needs the tables.',
      });
      expect(one("tokens")).toMatchObject({ status: "ok" });
      expect(JSON.stringify(checks)).not.toContain("s3cret");
    }
  });

  test("reports an app that cannot be loaded in one line, and skips the other checks", async () => {
    const broken = await sallyport(["doctor"], { DOCTOR_FAILURE: "DATABASE_URL is \u001b[31m\nmissing" });
    expect(broken.code).toBe(1);
    expect(broken.err).toBe("");
    expect(broken.out).toContain(
      "✘ app          The app could not be loaded: DATABASE_URL is \\u001b[31m missing\n",
    );
    expect(broken.out).toContain("- database     The app could not be loaded.\n");
    expect(broken.out).not.toMatch(/^\s+at /m);
    const missing = await doctor(["--production"], { SALLYPORT_APP: "nowhere.ts" });
    expect(missing.code).toBe(1);
    expect(missing.one("app")).toMatchObject({
      status: "failed",
      message: expect.stringContaining("nowhere.ts does not exist"),
    });
    expect(missing.checks.filter(({ status }) => status !== "skipped").map(({ check }) => check)).toEqual([
      "node",
      "app",
    ]);
  });

  test("reports a page whose origin is not allowed", async () => {
    await migrate();
    const other = await doctor(["--page", "https://evil.example.net/page"]);
    expect(other.code).toBe(1);
    expect(other.one("origins")).toEqual({
      check: "origins",
      status: "failed",
      message:
        'The origin "https://evil.example.net" is not in the option origins, which contains http://localhost:3000, https://www.example.com.',
      fix: 'Add "https://evil.example.net" to origins.',
    });
  });

  test("reports a page on 127.0.0.1 with a WebSocket on localhost", async () => {
    await migrate();
    await registerLocal();
    const { of, one } = await doctor(["--page", "http://127.0.0.1:3000"]);
    expect(one("origins")).toMatchObject({
      status: "failed",
      fix: 'Open the page at http://localhost:3000, or add "http://127.0.0.1:3000" to origins.',
    });
    expect(of("hosts")).toEqual([
      {
        check: "hosts",
        status: "warning",
        message:
          'The page is on "127.0.0.1", and sallyport dev serves ws://localhost:3001/dev. Browsers send no cookies from one host name to another.',
        fix: "Open the page at http://localhost:3000, or let it connect to ws://127.0.0.1:3001/dev.",
      },
    ]);
    const options = JSON.stringify({ token: { binding: "token" } });
    const bound = await doctor(["--page", "http://127.0.0.1:3000"], { DOCTOR_OPTIONS: options });
    expect(bound.one("hosts")).toMatchObject({ status: "ok" });
  });

  describe("the page", () => {
    test("is that of sallyport dev without --page, with the port of .env", async () => {
      await migrate();
      await registerLocal();
      const page = await servePage((_request, response) => response.writeHead(404).end());
      await writeFile(join(folder, "package.json"), "{}");
      await writeFile(join(folder, ".env"), `PORT=${page.port}\n`);
      const variables = { PORT: undefined, DOCTOR_OPTIONS: JSON.stringify({ origins: [page.url] }) };
      const { one, code } = await doctor([], variables);
      expect(one("page")).toEqual({
        check: "page",
        status: "ok",
        message: `${page.url} answers with status 404. It is the page of sallyport dev. --page <url> names another one.`,
      });
      expect(page.requests).toEqual(["GET /", "GET /api/ws-token"]);
      expect(one("origins")).toMatchObject({
        status: "ok",
        message: `Pages of ${page.url} are allowed to connect.`,
      });
      expect(one("hosts")).toMatchObject({ status: "ok" });
      expect(code).toBe(0);
    });

    test("is skipped without --page if nothing listens, and an origin that is not allowed is a warning", async () => {
      await migrate();
      await registerLocal();
      const { one, code } = await doctor();
      expect(one("page")).toEqual({
        check: "page",
        status: "skipped",
        message: "Nothing listens at http://localhost:2, the page of sallyport dev.",
        fix: "Run npm run dev, or pass the URL of your page: --page <url>.",
      });
      expect(one("origins")).toMatchObject({
        status: "warning",
        message: expect.stringContaining('The origin "http://localhost:2" is not in the option origins'),
        fix: expect.stringContaining("If your page has another URL, pass it with --page."),
      });
      expect(code).toBe(0);
      const invalid = await doctor([], { PORT: "port" });
      expect(invalid.one("page")).toMatchObject({
        status: "failed",
        message: 'PORT is "port". Use a whole number from 1 to 65535.',
      });
      const production = await doctor(["--production"]);
      expect(production.one("page")).toMatchObject({
        status: "skipped",
        message: "No page was requested.",
      });
    });

    test("is a problem with --page if nothing listens or the host does not exist", async () => {
      const closed = await doctor(["--page", CLOSED]);
      expect(closed.one("page")).toMatchObject({
        status: "warning",
        message: "Nothing listens at http://127.0.0.1:2.",
        fix: expect.stringContaining("--page"),
      });
      expect((await doctor(["--production", "--page", CLOSED])).one("page")).toMatchObject({
        status: "failed",
      });
      const unknown = await doctor(["--page", "https://ann:s3cret@www.example.com/chat?key=s3cret"]);
      expect(unknown.one("page")).toMatchObject({
        status: "warning",
        message:
          "https://www.example.com/chat could not be requested: getaddrinfo ENOTFOUND www.example.com.",
      });
      expect(JSON.stringify(unknown.checks)).not.toContain("s3cret");
    });

    test("is requested once, without following a redirect and without reading its body", async () => {
      const page = await servePage((request, response) => {
        if (request.url === "/error") response.writeHead(503).end();
        else if (request.url === "/endless") response.write("The body does not end.");
        else response.writeHead(302, { location: "/error" }).end();
      });
      expect((await doctor(["--page", page.url])).one("page")).toMatchObject({
        status: "ok",
        message: `${page.url} answers with status 302.`,
      });
      expect((await doctor(["--page", `${page.url}/endless`])).one("page")).toMatchObject({ status: "ok" });
      expect((await doctor(["--page", `${page.url}/error`])).one("page")).toMatchObject({
        status: "warning",
        message: `${page.url}/error answers with status 503.`,
        fix: expect.stringContaining("log"),
      });
      expect(page.requests).toEqual([
        "GET /",
        "GET /api/ws-token",
        "GET /endless",
        "GET /api/ws-token",
        "GET /error",
      ]);
    });

    test("is reported if its server does not pass the token endpoint to Sallyport", async () => {
      const page = await servePage(
        (_request, response) => response.end("A page."),
        (_request, response) => response.writeHead(404).end(),
      );
      const { of } = await doctor(["--page", page.url]);
      expect(of("page")).toMatchObject([
        { status: "ok" },
        {
          status: "warning",
          message: `GET ${page.url}/api/ws-token returned 404, but not the 405 of Sallyport.`,
          fix: expect.stringContaining("Mount the middleware"),
        },
      ]);
      const other = await servePage(
        (_request, response) => response.end("A page."),
        (_request, response) => response.writeHead(405, { allow: "POST" }).end(),
      );
      expect((await doctor(["--page", other.url])).of("page")[1]).toMatchObject({ status: "warning" });
      const slow = await servePage(
        (_request, response) => response.end("A page."),
        () => undefined,
      );
      expect((await doctor(["--page", slow.url])).of("page")[1]).toMatchObject({
        status: "warning",
        message: `GET ${slow.url}/api/ws-token did not answer within 5 s.`,
      });
      const broken = await servePage(
        (_request, response) => response.end("A page."),
        (request) => request.socket.destroy(),
      );
      expect((await doctor(["--page", broken.url])).of("page")[1]).toMatchObject({
        status: "warning",
        message: `GET ${broken.url}/api/ws-token failed: other side closed.`,
      });
    });

    test("must answer within 5 seconds", async () => {
      const page = await servePage(() => undefined);
      expect((await doctor(["--page", page.url])).one("page")).toMatchObject({
        status: "warning",
        message: `${page.url} did not answer within 5 s.`,
      });
    });
  });

  test.each([["ftp://example.com"], ["example.com"], [""]])("rejects the page %j", async (page) => {
    const { code, out, err } = await sallyport(["doctor", "--page", page]);
    expect([code, out]).toEqual([1, ""]);
    expect(err).toMatch(/^sallyport: .*Write a URL such as http:\/\/localhost:3000.*\n$/);
  });

  test("reports an authenticate that signs in a stranger, or fails", async () => {
    await migrate();
    const everyone = await doctor([], { DOCTOR_USER: "ann" });
    expect(everyone.one("tokens")).toMatchObject({
      status: "warning",
      message:
        'authenticate returned the user "ann" for a request without cookies and headers, so every client receives a token.',
    });
    const inProduction = await doctor(["--production"], { DOCTOR_USER: "ann" });
    expect(inProduction.one("tokens")).toMatchObject({ status: "failed" });
    const broken = await sallyport(["doctor"], { DOCTOR_USER: "broken" });
    expect(broken.out).toContain("! tokens       authenticate failed");
    expect(broken.out).toContain("The session store is\\u001b[31m away.");
  });

  test("reports gateways that are defined and not registered, and a host that receives no cookies", async () => {
    await migrate();
    await registerLocal();
    const variables = { DOCTOR_GATEWAY: "{}" };
    const local = await doctor(["--page", PAGE], variables);
    expect(local.of("gateways")).toMatchObject([
      {
        status: "warning",
        message: 'Gateway "chat" is defined, but not registered in this database.',
        fix: 'npx sallyport gateway apply "chat"',
      },
      { status: "skipped", message: expect.stringContaining("does not listen") },
    ]);
    expect(local.of("hosts")[0]).toMatchObject({
      status: "warning",
      message: expect.stringContaining('Gateway "chat" has no domain'),
    });
    expect(local.code).toBe(0);
    const production = await doctor(["--production", "--page", "https://www.example.com"], variables);
    expect(production.code).toBe(1);
    expect(production.of("gateways")).toMatchObject([
      { status: "failed" },
      {
        status: "warning",
        message: expect.stringContaining("local gateways: local (http://127.0.0.1:3001/dev)"),
      },
    ]);
    expect(production.one("iam")).toMatchObject({
      status: "failed",
      message: expect.stringContaining("No AWS credentials were found"),
      fix: expect.stringContaining('npx sallyport gateway policy "chat"'),
    });
  });

  test("compares the host of the page with the domain of a gateway", async () => {
    await migrate();
    const certificateArn =
      "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-0000-4000-8000-000000000000";
    const domain = { name: "ws.example.com", certificateArn };
    const variables = { DOCTOR_GATEWAY: JSON.stringify({ domain }) };
    const near = await doctor(["--page", "https://www.example.com"], variables);
    expect(near.of("hosts")).toMatchObject([
      {
        status: "ok",
        message: expect.stringContaining('ws.example.com (gateway "chat") are below example.com'),
      },
    ]);
    const far = await doctor(["--page", "https://www.example.org"], variables);
    expect(far.of("hosts")).toMatchObject([
      {
        status: "warning",
        message:
          'The page is on "www.example.org", and gateway "chat" is on "ws.example.com". Browsers send no cookies from one to the other.',
        fix: expect.stringContaining('token: { binding: "token" }'),
      },
    ]);
  });

  test("compares gateways at AWS with their definitions", async () => {
    await migrate();
    const aws = await ControlPlane.start("eu-west-1", new Clock({ runs: true }));
    try {
      const variables = {
        AWS_ENDPOINT_URL: aws.endpoint,
        AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
        AWS_SECRET_ACCESS_KEY: "not a secret",
        DOCTOR_CLIENT: "1",
        DOCTOR_GATEWAY: "{}",
      };
      expect(await sallyport(["gateway", "apply"], variables)).toMatchObject({ code: 0 });
      const changes = aws.changes;
      const same = await doctor([], variables);
      expect(same.of("definitions")).toEqual([
        { check: "definitions", status: "ok", message: 'Gateway "chat" matches its definition.' },
      ]);
      expect(same.one("iam")).toMatchObject({ status: "skipped" });
      const changed = await doctor([], { ...variables, DOCTOR_GATEWAY: '{"description":"other"}' });
      expect(changed.of("definitions")).toMatchObject([
        {
          status: "failed",
          message: expect.stringContaining(
            'Gateway "chat" differs from its definition. apply would: change API',
          ),
          fix: expect.stringContaining('npx sallyport gateway apply "chat"'),
        },
      ]);
      const unknown = await doctor([], { ...variables, AWS_ACCESS_KEY_ID: "" });
      expect(unknown.of("definitions")).toMatchObject([
        { status: "warning", message: expect.stringContaining("was not compared with its definition") },
      ]);
      expect(aws.changes).toBe(changes);
    } finally {
      await aws.close();
    }
  });

  test("reports rows that clean-up would have removed", async () => {
    await migrate();
    await registerLocal();
    await sqlAt(
      database.source,
      `insert into sallyport_tokens (hash, user_id, created_at, expires_at) values ('a', 'ann', 0, ${NOW} - ${5 * HOUR_MS})`,
    );
    const local = await doctor(["--page", PAGE]);
    expect(local.code).toBe(0);
    expect(local.one("clean-up")).toMatchObject({
      status: "warning",
      message: expect.stringContaining("There are tokens that clean-up could have removed 4 h ago."),
      fix: expect.stringContaining("npx sallyport cleanup"),
    });
    expect((await doctor(["--production"])).one("clean-up")).toMatchObject({ status: "failed" });
    await sqlAt(
      database.source,
      `insert into sallyport_connections (id, gateway_id, connection_id, view, connected_at, last_seen_at)
        select 'a', id, 'a=', '/ws/chat', ${NOW} - ${30 * HOUR_MS}, 0 from sallyport_gateways`,
    );
    expect((await doctor()).one("clean-up")?.message).toContain(
      "There are connections that clean-up could have removed 6 h ago.",
    );
    await sallyport(["cleanup"]);
    expect((await doctor(["--production"])).one("clean-up")).toMatchObject({ status: "ok" });
  });

  test("reports in production that there is no gateway at AWS", async () => {
    await migrate();
    await registerLocal();
    const production = { NODE_ENV: "production" };
    const none = await doctor(["--production"], production);
    expect(none.code).toBe(1);
    expect(none.of("gateways")[0]).toMatchObject({
      status: "failed",
      message: "No gateway at AWS is defined or registered, so no client can connect in production.",
    });
    expect(none.one("settings")).toMatchObject({ status: "ok" });
    expect((await doctor()).one("gateways")).toMatchObject({
      status: "skipped",
      message: "The local gateway local does not listen at http://127.0.0.1:3001/dev.",
      fix: "Run npm run dev.",
    });
  });

  test("reports in production a view to which no gateway leads", async () => {
    await migrate();
    await registerLocal();
    const two = { NODE_ENV: "production", DOCTOR_GATEWAY: "{}", DOCTOR_SECOND_VIEW: "1" };
    const defined = await doctor(["--production"], two);
    expect(defined.of("gateways").map(({ message }) => message)).toContain(
      "No defined gateway leads to the view /ws/second, so no client can connect to it.",
    );
    expect(JSON.stringify(defined.of("gateways"))).not.toContain("the view /ws/chat,");
    const routes = JSON.stringify({ routes: { second: "https://www.example.com/ws/second/default" } });
    const withRoute = await doctor(["--production"], { ...two, DOCTOR_GATEWAY: routes });
    expect(JSON.stringify(withRoute.of("gateways"))).not.toContain("leads to the view");
    // The target of a gateway that the app does not define is not known.
    await register({ name: "other", endpoint: REMOTE });
    const unknown = await doctor(["--production"], { ...two, DOCTOR_CLIENT: "1" });
    expect(JSON.stringify(unknown.of("gateways"))).not.toContain("leads to the view");
  });

  test("prints the production checklist with --production", async () => {
    await migrate();
    const options = {
      gatewayAuth: "none",
      limits: { tokensPerUser: false },
      allowMissingOrigin: true,
      token: { expiresInSeconds: 3600 },
    };
    const { of } = await doctor(["--production"], { DOCTOR_OPTIONS: JSON.stringify(options) });
    const [environment, auth, limits] = of("settings");
    expect(environment?.message).toMatch(/^NODE_ENV is "test"\. /);
    expect(auth?.message).toContain('gatewayAuth is "none"');
    expect(limits?.message).toBe("Limits are turned off: tokensPerUser.");
    expect(of("tokens")[1]?.message).toContain("A token can be used for 3600 s.");
    expect(of("origins").slice(1)).toMatchObject([
      { status: "warning", message: expect.stringContaining("allowMissingOrigin is true") },
      { status: "warning", message: expect.stringContaining("http://localhost:3000") },
    ]);
    const rows = [
      "anonymous-access",
      "view-permissions",
      "handler-permissions",
      "object-permissions",
      "channel-access",
      "handler-names",
      "error-details",
      "tests",
    ];
    expect(rows.map((check) => [check, of(check)[0]?.status])).toEqual([
      ["anonymous-access", "ok"],
      ["view-permissions", "ok"],
      ["handler-permissions", "check by hand"],
      ["object-permissions", "check by hand"],
      ["channel-access", "ok"],
      ["handler-names", "check by hand"],
      ["error-details", "check by hand"],
      ["tests", "check by hand"],
    ]);
    expect(of("object-permissions")[0]?.message).toContain("ChatView.send_message, channel rooms/:slug");
    for (const check of rows) expect(of(check)).toHaveLength(1);
    const local = await doctor();
    expect(local.of("tests")).toEqual([]);
  });

  test("does not compare gateways that the app does not define", async () => {
    await migrate();
    await register({ name: "other", endpoint: REMOTE });
    const { one } = await doctor([], { DOCTOR_CLIENT: "1" });
    expect(one("definitions")).toMatchObject({
      status: "skipped",
      message: "Not compared, because the app does not define them: other.",
    });
    expect(one("hosts")).toMatchObject({ status: "skipped" });
  });
});
