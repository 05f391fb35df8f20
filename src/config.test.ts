import { inspect } from "node:util";
import fc from "fast-check";
import { Kysely } from "kysely";
import { describe, expect, test } from "vitest";
import { defineGateway } from "./aws/define-gateway.ts";
import type { SallyportOptions } from "./config.ts";
import { sendingBounds } from "./delivery/options.ts";
import { ConfigurationError } from "./errors.ts";
import { INTERNAL } from "./internal.ts";
import { definePermissions, type Permission } from "./permissions/define.ts";
import { createSallyport } from "./sallyport.ts";
import { postgres } from "./storage/postgres.ts";
import { LibsqlDialect, sqlite } from "./storage/sqlite.ts";
import { defineChannel } from "./views/channel.ts";
import { handler } from "./views/handler.ts";
import { WebSocketView } from "./views/view.ts";

const chat = definePermissions("chat", { use: "Use" });

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  ping = handler(() => "pong");
}

const REQUIRED = {
  storage: sqlite(":memory:"),
  permissions: [chat],
  views: { "/ws/chat": ChatView },
  authenticate: () => null,
  origins: ["https://www.example.com"],
};

/** Every option with a valid value, so that a test can make one option at a time invalid. */
const ALL = {
  ...REQUIRED,
  channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
  gateways: [defineGateway({ name: "main", region: "eu-west-1", target: "https://a.test/ws/chat" })],
  users: { find: () => undefined, describe: () => ({}), suggest: () => [] },
  allowMissingOrigin: true,
  token: { path: "/api/token", expiresInSeconds: 30, binding: "token" },
  limits: {
    connectsPerUser: 1,
    connectionsPerUser: 1,
    connectsPerIp: 1,
    failedConnectsPerIp: false,
    tokensPerUser: 0,
    messagesPerConnection: 1,
    messagesPerUser: 1,
  },
  gatewayAuth: "none",
  trustProxy: 1,
  apiGateway: {
    maxRequestsPerSecond: 10,
    concurrency: 2,
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
    region: "eu-west-1",
    client: {
      post: async () => ({ kind: "ok" }),
      delete: async () => ({ kind: "ok" }),
      close: async () => {},
    },
  },
  decisionLog: { sampleAllowed: 0.5, keepDays: 2, maxRows: 5 },
  endedSessions: { keepDays: 2, maxRows: 5 },
  onDecision: () => undefined,
  logFormat: "json",
  telemetry: { event: () => undefined, send: () => undefined, decided: () => undefined },
  healthPath: "/healthz",
  onError: () => undefined,
} as const satisfies Required<Omit<SallyportOptions, "telemetry">> & { telemetry: object };

const start = (options: object) => () => createSallyport(options as SallyportOptions);

test("accepts all options, and the required options alone", () => {
  expect(start(ALL)).not.toThrow();
  expect(start(REQUIRED)).not.toThrow();
});

test("accepts values at the bounds of what is allowed", () => {
  class Directory {
    find() {
      return undefined;
    }
  }
  const credentials = { accessKeyId: "a", secretAccessKey: "b", sessionToken: "c", $source: { x: "y" } };
  for (const options of [
    { users: new Directory() },
    { apiGateway: { credentials: async () => credentials, maxRequestsPerSecond: 1, concurrency: 10_000 } },
    { apiGateway: { credentials, maxRequestsPerSecond: false, region: "us-gov-west-1" } },
    { trustProxy: 0 },
    { limits: { tokensPerUser: 0, connectsPerUser: false } },
    { origins: undefined, allowMissingOrigin: true },
    { healthPath: "/ws/health" },
    { healthPath: "/healthz", token: { path: "/api/v1/ws.token", expiresInSeconds: 3600 } },
  ]) {
    expect(start({ ...REQUIRED, ...options }), JSON.stringify(options)).not.toThrow();
  }
});

test("sends without limit if maxRequestsPerSecond is false", () => {
  expect(sendingBounds({ maxRequestsPerSecond: false, concurrency: 3 })).toEqual({
    perSecond: Number.POSITIVE_INFINITY,
    concurrency: 3,
  });
  expect(sendingBounds({ maxRequestsPerSecond: 7, concurrency: 3 })).toEqual({
    perSecond: 7,
    concurrency: 3,
  });
});

test("an error of createSallyport() begins its stack at the call in the app", () => {
  const permissions: Readonly<Record<string, Permission>> = chat;
  class Misspelled extends WebSocketView {
    static override permissionsRequired = [permissions.uze as Permission];
  }
  try {
    createSallyport({ ...REQUIRED, views: { "/ws/chat": Misspelled } } as never);
    expect.unreachable();
  } catch (error) {
    const { message, stack = "" } = error as Error;
    expect(message).toBe(
      "Misspelled: permissionsRequired[0] is undefined. It must be a permission from definePermissions(), such as " +
        "chat.can_use_chat. Check the spelling of the name that should contain it.",
    );
    expect(stack.slice(stack.indexOf(message) + message.length).trim()).toMatch(/^at .*config\.test\.ts:\d+/);
    expect(inspect(error)).not.toMatch(/status|clientMessage/);
  }
});

describe("createSallyport() rejects", () => {
  const secret = "postgres://user:secret@db.example.com/app";
  const wrong: [string, object, RegExp][] = [
    [
      "a misspelled binding",
      { token: { binding: "Session" } },
      /token\.binding must be "session" or "token", but received "Session"\.$/,
    ],
    ["the binding of 0.1", { token: { binding: "login" } }, /token\.binding must be "session" or "token"/],
    [
      "an unknown token option",
      { token: { bindings: "session" } },
      /token\.bindings is not an option\. Did you mean "binding"\?$/,
    ],
    ["tokens", { tokens: { binding: "Login" } }, /tokens is not an option\. Did you mean "token"\?$/],
    [
      "trustProxy: true",
      { trustProxy: true },
      /trustProxy must be a whole number of proxies from 0 to 100, but received true\.$/,
    ],
    ["a negative trustProxy", { trustProxy: -1 }, /trustProxy must be/],
    ["a trustProxy that is not whole", { trustProxy: 1.5 }, /trustProxy must be/],
    ["sourceIp", { sourceIp: { trustedHop: 1 } }, /sourceIp is not an option\. Write trustProxy/],
    ["trust", { trust: "netwrok" }, /trust is not an option\. Write gatewayAuth/],
    [
      "a misspelled gatewayAuth",
      { gatewayAuth: "nome" },
      /gatewayAuth must be "secret" or "none", but received "nome"\.$/,
    ],
    [
      "an unknown function of users",
      { users: { fnd: () => "x" } },
      /users has "fnd", which is not an option\. The options are: find, describe, suggest\.$/,
    ],
    [
      "users with something else than a function",
      { users: { find: "x" } },
      /users must be an object with the functions/,
    ],
    [
      "users of a class without any of the functions",
      { users: new Map() },
      /users must be an object with the functions/,
    ],
    ["onDecision: 5", { onDecision: 5 }, /onDecision must be a function, but received 5\.$/],
    ["telemetry: {}", { telemetry: {} }, /telemetry must be what openTelemetry\(\) returned/],
    [
      "an empty client",
      { apiGateway: { client: {} } },
      /apiGateway\.client must be an object with the methods post, delete and close/,
    ],
    [
      "managementApi",
      { managementApi: {} },
      /managementApi is not an option\. Write apiGateway: \{ client \}/,
    ],
    [
      "a token path without a slash",
      { token: { path: "api/ws-token" } },
      /token\.path must be a path that begins with \/ .*, but received "api\/ws-token"\.$/,
    ],
    ["an empty token path", { token: { path: "" } }, /token\.path must be a path/],
    [
      "a token path of an event",
      { token: { path: "/ws/chat/connect" } },
      /token\.path \/ws\/chat\/connect is below the view \/ws\/chat/,
    ],
    ["a token path below a view", { token: { path: "/ws/chat/my-token" } }, /is below the view/],
    ["a health path below a view", { healthPath: "/ws/chat/disconnect" }, /healthPath .* is below the view/],
    [
      "one path for both",
      { healthPath: "/x", token: { path: "/x" } },
      /healthPath and token\.path are both \/x/,
    ],
    ["a health path with a query", { healthPath: "/x?y" }, /healthPath must be a path/],
    [
      "a connection string as storage",
      { storage: secret },
      /storage must be a database from sqlite\(\) or postgres\(\), but received a string\. Write/,
    ],
    ["a promise of a storage", { storage: Promise.resolve() }, /received an object of class Promise/],
    ["no storage", { storage: undefined }, /storage/],
    ...[
      null,
      {},
      { write: () => 1 },
      { migrate: () => 1 },
      { write: () => 1, migrate: () => 1 },
      { write: () => 1, db: {} },
      { migrate: () => 1, db: {} },
      { db: {} },
    ].map((storage): [string, object, RegExp] => [
      `${JSON.stringify(storage)} with ${Object.keys(storage ?? {})} as storage`,
      { storage },
      /storage must be a database from sqlite\(\) or postgres\(\)/,
    ]),
    ["credentials that are null", { apiGateway: { credentials: null } }, /credentials must be/],
    [
      "an empty access key",
      { apiGateway: { credentials: { accessKeyId: "", secretAccessKey: "b" } } },
      /credentials must be/,
    ],
    [
      "a session token that is a number",
      { apiGateway: { credentials: { accessKeyId: "a", secretAccessKey: "b", sessionToken: 5 } } },
      /credentials must be/,
    ],
    ["text before a region", { apiGateway: { region: "x eu-west-1" } }, /region must be an AWS region/],
    ["text after a region", { apiGateway: { region: "eu-west-1a" } }, /region must be an AWS region/],
    ["gateways: {}", { gateways: {} }, /gateways must be an array of what defineGateway\(\) returned/],
    [
      "a gateway that was not defined",
      { gateways: [{ name: "x" }] },
      /gateways\[0\] must be what defineGateway\(\) returned/,
    ],
    ["channels: {}", { channels: {} }, /channels must be an array of what defineChannel\(\) returned/],
    [
      "a channel that was not defined",
      { channels: [{ pattern: "x", options: { signedIn: "yes" }, match: () => ({}) }] },
      /channels\[0\] must be what defineChannel\(\) returned/,
    ],
    [
      "a set of permissions that is null",
      { permissions: [null] },
      /permissions\[0\] must be what definePermissions/,
    ],
    ["no permissions", { permissions: undefined }, /permissions/],
    [
      "permissions: {}",
      { permissions: chat },
      /permissions must be an array of what definePermissions\(\) returned/,
    ],
    [
      "a permission instead of its set",
      { permissions: ["chat.use"] },
      /permissions\[0\] must be what definePermissions\(\) returned/,
    ],
    [
      "no authenticate",
      { authenticate: undefined },
      /authenticate is undefined\. It must be a function that returns \{ userId, sessionId \}/,
    ],
    ["identify", { identify: () => null }, /identify is not an option\. Write authenticate/],
    ["a list of views", { views: [ChatView] }, /views must be an object of paths and view classes/],
    ["a Map of views", { views: new Map() }, /views must be an object/],
    ["an empty list of origins", { origins: [] }, /origins is empty/],
    ["a text as origins", { origins: "https://www.example.com" }, /origins must be an array of origins/],
    ["a star as origin", { origins: ["*"] }, /origins\[0\] must be scheme, host and port/],
    ["none as origin", { origins: ["none"] }, /origins\[0\] is "none"\. Set allowMissingOrigin: true/],
    [
      "allowMissingOrigin that is a text",
      { allowMissingOrigin: "no" },
      /allowMissingOrigin must be true or false, but received "no"\.$/,
    ],
    [
      "an unknown limit",
      { limits: { tokenPerUser: 5 } },
      /limits\.tokenPerUser is not an option\. Did you mean "tokensPerUser"\?/,
    ],
    [
      "a limit that is a text",
      { limits: { tokensPerUser: "5" } },
      /limits\.tokensPerUser must be a whole number per minute/,
    ],
    ["limits: true", { limits: true }, /limits must be a plain object, but received true\.$/],
    ["limits: []", { limits: [] }, /limits must be a plain object, but received an array of 0\.$/],
    ["a promise of limits", { limits: Promise.resolve({}) }, /limits must be a plain object/],
    [
      "no concurrency",
      { apiGateway: { concurrency: 0 } },
      /apiGateway\.concurrency must be a whole number from 1 to 10000/,
    ],
    [
      "maxRequestsPerSecond of 0",
      { apiGateway: { maxRequestsPerSecond: 0 } },
      /apiGateway\.maxRequestsPerSecond must be a number of at least 1, or false/,
    ],
    [
      "a value that is not a region",
      { apiGateway: { region: "Ireland" } },
      /apiGateway\.region must be an AWS region such as eu-west-1/,
    ],
    [
      "credentials without a key",
      { apiGateway: { credentials: { accessKeyId: "secret-id" } } },
      /apiGateway\.credentials must be .* with strings/,
    ],
    [
      "a secret in place of credentials",
      { apiGateway: { credentials: "secret-id" } },
      /apiGateway\.credentials must be .* with strings/,
    ],
    [
      "a misspelled session token",
      { apiGateway: { credentials: { accessKeyId: "a", secretAccessKey: "b", sessionTokn: "c" } } },
      /apiGateway\.credentials must be/,
    ],
    [
      "a secret in place of token",
      { token: "secret-id" },
      /token must be a plain object, but received a string\.$/,
    ],
    ["a path with dots", { token: { path: "/api/.." } }, /token\.path must be a path/],
    [
      "a share above 1",
      { decisionLog: { sampleAllowed: 2 } },
      /decisionLog\.sampleAllowed must be a share from 0 to 1/,
    ],
    ["delivery", { delivery: { ratePerSecond: 5 } }, /delivery is not an option\. Write apiGateway/],
    ["decisions", { decisions: {} }, /decisions is not an option\. Did you mean/],
    [
      "a token that never expires",
      { token: { expiresInSeconds: Number.POSITIVE_INFINITY } },
      /token\.expiresInSeconds must be a number of seconds/,
    ],
    ["a property of every object", { toString: "x" }, /toString is not an option/],
  ];

  test.each(wrong)("%s", (_name, options, words) => {
    const run = start({ ...REQUIRED, ...options });
    expect(run).toThrow(ConfigurationError);
    expect(run).toThrow(words);
    // The message is for the developer and must not contain a secret.
    expect(run).toThrow(/^createSallyport\(\): /);
    expect(run).not.toThrow(/secret@|secret-id/);
  });

  test.each([undefined, null, 5, "x", [], new Date()])("%s instead of options", (options) => {
    expect(start(options as never)).toThrow(/^createSallyport\(\): the options must be a plain object/);
  });
});

test("with() rejects options that are not a plain object, so no test uses the app's database", () => {
  const app = createSallyport(REQUIRED);
  for (const options of [undefined, null, Promise.resolve({}), () => ({}), []]) {
    expect(() => app[INTERNAL].with(options as never)).toThrow(
      /^with\(\): the options must be a plain object, but received/,
    );
  }
  for (const token of [true, [], new Map(), "x"]) {
    expect(() => app[INTERNAL].with({ token: token as never })).toThrow(/token must be a plain object/);
  }
});

test("rejects every misspelled name and every value of a wrong kind, and names the option", () => {
  const paths = pathsOf(ALL);
  const spoiled = fc.oneof(
    fc.record({ path: fc.constantFrom(...paths), how: fc.constant("rename" as const), edit: edits() }),
    fc.record({ path: fc.constantFrom(...paths), how: fc.constant("value" as const), value: wrongValues() }),
  );
  fc.assert(
    fc.property(spoiled, (spoil) => {
      const { path } = spoil;
      const name = path.at(-1) ?? "";
      const options = copyOf(ALL);
      const parent = path
        .slice(0, -1)
        .reduce<Record<string, unknown>>((at, key) => at[key] as never, options);
      let changed = name;
      if (spoil.how === "rename") {
        changed = spoil.edit(name);
        fc.pre(!Object.hasOwn(parent, changed) && changed !== "");
        const value = parent[name];
        delete parent[name];
        parent[changed] = value;
      } else parent[name] = spoil.value;
      let error: unknown;
      try {
        createSallyport(options as never);
      } catch (thrown) {
        error = thrown;
      }
      expect(error, `${path.join(".")} → ${changed}`).toBeInstanceOf(ConfigurationError);
      const { message } = error as Error;
      expect(message).toContain(changed);
      expect(message).toMatch(/Did you mean|The options are|must be|Use |Write |Set /);
    }),
    { numRuns: 1000 },
  );
});

test("postgres() rejects a connection string that names no server, instead of connecting to a local one", () => {
  const sources = [
    "",
    " ",
    undefined,
    null,
    5,
    "undefined",
    "db.example.com",
    "localhost:5432/app",
    "postgres://",
    "postgres:///app",
    "postgres://user:secret@/app",
    "mysql://user:secret@db.example.com/app",
  ];
  for (const source of sources) {
    const open = () => postgres(source as string);
    expect(open, String(source)).toThrow(
      /^postgres\(\): the source must be a connection string that names a server/,
    );
    expect(open, String(source)).toThrow(/DATABASE_URL/);
    expect(open, String(source)).not.toThrow(/secret/);
  }
  for (const source of [
    "postgres://localhost/app",
    "postgresql://user:p%23ss@db.example.com:5432/app?sslmode=require",
    "postgres:///app?host=/var/run/postgresql",
    "postgres://%2Fvar%2Frun%2Fpostgresql/app",
    "postgres://one.example.com,two.example.com/app",
  ]) {
    expect(() => postgres(source), source).not.toThrow();
  }
});

test("postgres() rejects misspelled options, and options that a Kysely instance does not use", () => {
  expect(() => postgres("postgres://localhost/app", { poolsize: 3 } as never)).toThrow(
    /postgres\(\): poolsize is not an option\. Did you mean "poolSize"\?/,
  );
  expect(() => postgres("postgres://localhost/app", { listen: "no" } as never)).toThrow(
    /listen must be true or false/,
  );
  const kysely = new Kysely<unknown>({ dialect: new LibsqlDialect({ path: ":memory:" }) });
  expect(() => postgres(kysely, { poolSize: 5 })).toThrow(
    /poolSize, listen and password apply to connections/,
  );
});

test("sqlite() rejects a path that is missing", () => {
  for (const source of ["", " ", undefined, null, 5]) {
    expect(() => sqlite(source as string), String(source)).toThrow(/^sqlite\(\): the source must be/);
  }
});

/** Typical misspellings of a name. */
function edits(): fc.Arbitrary<(name: string) => string> {
  return fc
    .record({ kind: fc.constantFrom("drop", "double", "swap", "case", "snake", "plural"), at: fc.nat(20) })
    .map(({ kind, at }) => (name: string) => {
      const index = at % name.length;
      const letters = [...name];
      if (kind === "drop") letters.splice(index, 1);
      if (kind === "double") letters.splice(index, 0, letters[index] ?? "");
      if (kind === "swap") letters.splice(index, 2, ...letters.slice(index, index + 2).reverse());
      if (kind === "case") letters[index] = letters[index]?.toUpperCase() ?? "";
      if (kind === "snake") return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      if (kind === "plural") return name.endsWith("s") ? name.slice(0, -1) : `${name}s`;
      return letters.join("");
    });
}

/** Values that no option accepts. */
function wrongValues(): fc.Arbitrary<unknown> {
  return fc.constantFrom<unknown>(
    null,
    Number.NaN,
    -7,
    10n,
    "no such value",
    Symbol("x"),
    new Date(0),
    new Map(),
    /x/,
    [null],
    { nonsense: 1 },
    Promise.resolve(),
  );
}

/** The path of every option, nested ones included. */
function pathsOf(options: object): readonly (readonly string[])[] {
  return Object.entries(options).flatMap(([name, value]) => {
    const nested = ["token", "limits", "apiGateway", "decisionLog"].includes(name) ? pathsOf(value) : [];
    return [[name], ...nested.map((path) => [name, ...path])];
  });
}

function copyOf(options: object): Record<string, unknown> {
  const nested = ["token", "limits", "apiGateway", "decisionLog", "users"];
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [name, nested.includes(name) ? { ...value } : value]),
  );
}
