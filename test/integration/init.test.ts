import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { TEMPLATES } from "../../src/cli/init/templates.ts";
import { commandLineWith, document, root } from "./command-line.ts";
import { DevProcess, freePort } from "./dev-process.ts";

const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-init-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const init = (...args: readonly string[]) =>
  commandLineWith(["init", ...args, "--no-install"], { SALLYPORT_APP: "" }, folder);

const read = (path: string) => readFile(join(folder, path), "utf8");

async function files(): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

/** Writes an Express app with PostgreSQL, whose JSON files have tabs and comments. */
async function writeExpressApp(): Promise<void> {
  const description = {
    name: "shop",
    type: "module",
    scripts: { dev: "tsx watch src/server.ts" },
    dependencies: { express: "^5.0.0", pg: "^8.13.0" },
    devDependencies: { typescript: "^6.0.0" },
  };
  await writeFile(join(folder, "package.json"), `${JSON.stringify(description, null, "\t")}\n`);
  await writeFile(
    join(folder, "tsconfig.json"),
    '{\n\t// our settings\n\t"compilerOptions": {\n\t\t"module": "nodenext", // as Node.js\n\t\t"strict": true\n\t}\n}\n',
  );
  await writeFile(join(folder, ".env"), "SHOP=1");
  await writeFile(join(folder, ".gitignore"), "node_modules/\n");
  await mkdir(join(folder, "src"));
  await writeFile(join(folder, "src/server.ts"), "export {};\n");
}

describe("sallyport init in an empty folder", () => {
  test.each(Object.keys(TEMPLATES))("creates an app of the template %s", async (template) => {
    const { code, out, err } = await init("My App!", "--template", template, "--yes");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toContain("+ package.json");
    expect(out).toMatch(/^Next:\n {2}cd "My App!"\n {2}npm install\n {2}npm run dev$/m);
    const description = JSON.parse(await read("My App!/package.json"));
    expect(description.name).toBe("my-app-");
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    expect(description.dependencies.sallyport).toBe(`^${version}`);
    expect(await files()).toEqual(
      expect.arrayContaining(
        [".gitignore", "README.md", "src/permissions.ts"].map((file) => `My App!/${file}`),
      ),
    );
    const ignored = (await read("My App!/.gitignore")).split("\n");
    expect(ignored).toContain(".env");
  });

  test("writes new secrets, which only the owner can read", async () => {
    const secrets = new Set<string>();
    for (const name of ["one", "two"]) {
      expect((await init(name, "--yes", "--template", "express-postgres-react")).code).toBe(0);
      expect((await stat(join(folder, name, ".env"))).mode & 0o777).toBe(0o600);
      const text = await read(`${name}/.env`);
      expect(text).toMatch(/^DATABASE_URL=postgres:\/\/app:[\w-]+@localhost:\d{5}\/app$/m);
      for (const [secret] of text.matchAll(/[\w-]{43}/g)) secrets.add(secret);
    }
    expect(secrets.size).toBe(4);
  });

  test("writes the name of the folder into the README, whatever it contains", async () => {
    await init("a$&b", "--yes");
    expect(await read("a$&b/README.md")).toMatch(/^# a\$&b$/m);
  });

  test("uses this folder and the template minimal by default", async () => {
    expect((await init("--yes")).code).toBe(0);
    expect(await read("src/server.ts")).toContain("sallyport/adapters/node");
  });

  test("replaces no file, and then writes none", async () => {
    await writeFile(join(folder, "README.md"), "mine");
    const { code, err } = await init();
    expect(code).toBe(1);
    expect(err).toBe(
      `sallyport: ${folder} already contains README.md. Use an empty folder: npx sallyport init my-app\n`,
    );
    expect(await files()).toEqual(["README.md"]);
  });

  test("writes nothing with --dry-run", async () => {
    const { out } = await init("my-app", "--dry-run");
    expect(out).toContain("+ src/server.ts");
    expect(out).toContain("Nothing was written.");
    expect(await files()).toEqual([]);
  });

  test("rejects a template that does not exist, and lists the others", async () => {
    const { code, err } = await init("--template", "angular");
    expect(code).toBe(1);
    expect(err).toContain("Allowed choices are minimal, fastify-sqlite,");
    expect(err.trim()).not.toContain("\n");
  });
});

describe("sallyport init in an app", () => {
  test("adds what is missing, and keeps format and comments", async () => {
    await writeExpressApp();
    const { code, out, err } = await init("--yes");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(JSON.parse(await read("package.json"))).toMatchObject({
      name: "shop",
      scripts: {
        dev: "tsx watch src/server.ts",
        "dev:sallyport": "sallyport dev --embedded-postgres -- npm run dev",
      },
      sallyport: { app: "src/sallyport/sallyport.ts" },
      dependencies: { pg: "^8.13.0", sallyport: expect.any(String), kysely: expect.any(String) },
      devDependencies: { "embedded-postgres": expect.any(String), "@types/node": expect.any(String) },
    });
    expect(await read("package.json")).toContain('\n\t"scripts": {\n\t\t"dev": "tsx watch');
    expect(await read("tsconfig.json")).toContain('"module": "nodenext", // as Node.js');
    expect(await read("tsconfig.json")).toContain('"types"');
    expect(await read(".env")).toMatch(
      /^SHOP=1\nDATABASE_URL=postgres:\/\/app:[\w-]{43}@localhost:2\d{4}\/app\n$/,
    );
    expect(await read(".gitignore")).toBe("node_modules/\n.env\n");
    expect(await read("src/server.ts")).toBe("export {};\n");
    expect(out).toContain('~ package.json\n    + dependencies.sallyport: "');
    expect(out).toContain('import { expressMiddleware } from "sallyport/adapters/express";');
    expect(out).toContain('import { sallyport } from "./sallyport/sallyport.js";');
    expect(out).toContain("const own = expressRequest");
    expect(out).toContain('connect({ url, token: "/api/ws-token", view: "/ws/chat" })');
    expect(out).toContain("SALLYPORT_URL");
    expect(await read("src/sallyport/sallyport.ts")).toContain('from "./chat-view.js"');
  });

  test("prints each line of a new file before it writes it", async () => {
    await writeExpressApp();
    const { out } = await init("--dry-run");
    const text = await readFile(join(root, "templates/common/src/permissions.ts"), "utf8");
    const lines = text.trimEnd().split("\n");
    const diff = ["+ src/sallyport/permissions.ts", ...lines.map((line) => `    + ${line}`.trimEnd())];
    expect(out).toContain(`${diff.join("\n")}\n`);
    expect(await files()).not.toContain("src/sallyport/permissions.ts");
  });

  test("changes nothing the second time, and keeps edited files", async () => {
    await writeExpressApp();
    await init("--yes");
    await writeFile(join(folder, "src/sallyport/permissions.ts"), "// mine\n");
    const before = await Promise.all((await files()).map(read));
    const { code, out } = await init("--yes");
    expect(code).toBe(0);
    expect(out).toContain("Sallyport is already set up here. Nothing was written.");
    expect(await Promise.all((await files()).map(read))).toEqual(before);
  });

  test("adds routes to an app of Next.js", async () => {
    await writeFile(join(folder, "package.json"), '{"dependencies":{"next":"^16.0.0","libsql":"^0.5.0"}}');
    await mkdir(join(folder, "src/app"), { recursive: true });
    const { out } = await init("--yes");
    expect(await read("src/app/ws/chat/[event]/route.ts")).toContain("../sallyport/sallyport");
    const app = await read("src/sallyport/sallyport.ts");
    expect(app).toContain('from "./chat-view"');
    expect(app).toContain('void Reflect.get(globalThis, "sallyport")?.flush();');
    expect(await read("src/sallyport/storage.ts")).toContain("sqlite(");
    expect(out).toContain('serverExternalPackages: ["sallyport"]');
    await expect(read(".env")).rejects.toThrow("ENOENT");
  });

  test("writes files that compile and that the command line loads", async () => {
    await writeExpressApp();
    await init("--yes");
    await link("sallyport", "zod", "pg", "kysely", "@types/node");
    expect((await compile()).stdout).toBe("");
    const listed = await commandLineWith(["users", "list"], { SALLYPORT_APP: "" }, folder);
    expect(listed.err).toMatch(/SALLYPORT_STORAGE|ECONNREFUSED|database/);
  });

  test("rejects a template, and a package.json that is not valid", async () => {
    await writeExpressApp();
    expect((await init("--template", "minimal")).err).toContain(
      "already contains an app, which --template would replace",
    );
    await writeFile(join(folder, "package.json"), "{");
    const { code, err } = await init("--yes");
    expect(code).toBe(1);
    expect(err).toBe(
      `sallyport: ${join(folder, "package.json")} is not valid JSON. Correct package.json first.\n`,
    );
  });

  test("prints one JSON document with --json", async () => {
    await writeExpressApp();
    expect(document(await init("--json"))).toMatchObject({
      folder,
      isWritten: true,
      kept: [],
      changes: expect.arrayContaining([
        { path: "src/sallyport/sallyport.ts", added: null },
        { path: ".env", added: [expect.stringContaining("DATABASE_URL=")] },
      ]),
    });
  });
});

/** Writes a package.json, and other files by path. */
async function writeApp(description: object, others: Readonly<Record<string, string>> = {}): Promise<void> {
  await writeFile(join(folder, "package.json"), JSON.stringify(description));
  for (const [path, text] of Object.entries(others)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
}

const written = async () => JSON.parse(await read("package.json"));

describe("sallyport init and TypeScript", () => {
  const app = (range: string) => ({
    devDependencies: { typescript: range, "@types/jest": "^30.0.0" },
  });

  test("keeps the automatic types of TypeScript 5", async () => {
    await writeApp(app("^5.9.0"), { "tsconfig.json": '{"compilerOptions":{"module":"nodenext"}}' });
    await init("--yes");
    expect(await read("tsconfig.json")).toBe('{"compilerOptions":{"module":"nodenext"}}');
    expect((await written()).devDependencies["@types/node"]).toEqual(expect.any(String));
  });

  test("lists all packages of types with TypeScript 6", async () => {
    await writeApp(app(">=6 <7"), { "tsconfig.json": '{"compilerOptions":{"module":"nodenext"}}' });
    await init("--yes");
    const { compilerOptions } = JSON.parse(await read("tsconfig.json"));
    expect(compilerOptions).toEqual({ module: "nodenext", types: ["node", "jest"] });
  });

  test("reads the version of TypeScript that is installed", async () => {
    await writeApp(app("*"), {
      "tsconfig.json": '{"compilerOptions":{"module":"nodenext"}}',
      "node_modules/typescript/package.json": '{"name":"typescript","version":"5.9.3"}',
    });
    await init("--yes");
    expect(await read("tsconfig.json")).not.toContain("types");
  });

  test.each([
    ['{"module":"commonjs"}', 'Set "module": "nodenext" in tsconfig.json'],
    ['{"module":"commonjs","moduleResolution":"node"}', 'and remove "moduleResolution" in tsconfig.json'],
    ['{"module":"esnext","moduleResolution":"node10"}', 'Set "moduleResolution": "bundler" in tsconfig.json'],
    ['{"module":"esnext","moduleResolution":"bundler"}', undefined],
    ['{"module":"node16"}', undefined],
  ])("prints the change that %s needs", async (options, step) => {
    await writeApp(app("^5.9.0"), { "tsconfig.json": '{"extends":"./base.json"}' });
    await writeFile(join(folder, "base.json"), `{"compilerOptions":${options}}`);
    const { out } = await init("--yes");
    if (step) expect(out).toContain(step);
    else expect(out).not.toContain("in tsconfig.json");
  });
});

/** The lines of code that are printed after a step, without their indent. */
const linesAfter = (out: string, step: RegExp) => {
  const lines = out.split("\n");
  const start = lines.findIndex((line) => step.test(line)) + 1;
  expect(start).toBeGreaterThan(0);
  const end = lines.findIndex((line, index) => index >= start && !line.startsWith("      "));
  return lines.slice(start, end).map((line) => line.slice(6));
};

/** Makes packages of this repository available to the app. */
async function link(...names: readonly string[]): Promise<void> {
  await mkdir(join(folder, "node_modules/@types"), { recursive: true });
  for (const name of names) {
    const target = name === "sallyport" ? root : join(root, "node_modules", name);
    await symlink(target, join(folder, "node_modules", name));
  }
}

const compile = () =>
  promisify(execFile)(process.execPath, [tsc, "--noEmit", "-p", folder]).catch(
    ({ stdout }: { stdout: string }) => ({ stdout }),
  );

describe("sallyport init in a JavaScript app", () => {
  test.each([
    ["module", "js", "import"],
    ["commonjs", "mjs", "require"],
  ])("of type %s writes .%s files that the printed server code loads", async (type, extension, keyword) => {
    const scripts = { start: "node server.js" };
    await writeApp({ type, scripts, dependencies: { express: "^5.0.0" } }, { "server.js": "" });
    const { out } = await init("--yes");
    const { devDependencies, scripts: added, sallyport } = await written();
    expect(devDependencies).toBeUndefined();
    expect(added["dev:sallyport"]).toBe("sallyport dev -- node server.js");
    expect(sallyport).toEqual({ app: `sallyport/sallyport.${extension}` });
    expect((await files()).filter((path) => path.startsWith("sallyport/"))).toEqual(
      ["channels", "chat-view", "permissions", "sallyport", "storage", "user-name"].map(
        (name) => `sallyport/${name}.${extension}`,
      ),
    );
    expect(out).toContain("npx sallyport users grant <user id> <permission>");

    const mounted = linesAfter(out, /^ {2}Add these lines to your server/);
    expect(mounted[0]).toMatch(new RegExp(`^(?:const .*)?${keyword}`));
    const port = await freePort();
    const express =
      type === "module" ? 'import express from "express";' : 'const express = require("express");';
    await writeFile(
      join(folder, "server.js"),
      [express, "const app = express();", ...mounted, 'app.listen(process.env.PORT, "localhost");'].join(
        "\n",
      ),
    );
    await mkdir(join(folder, "node_modules"));
    for (const name of ["sallyport", "express", "zod", "kysely", "libsql"]) {
      const target = name === "sallyport" ? root : join(root, "node_modules", name);
      await symlink(target, join(folder, "node_modules", name));
    }
    const authenticate = linesAfter(out, /^ {2}Return your signed-in user from "authenticate"/);
    expect(authenticate.join("\n")).toContain("expressRequest(request)");
    const dev = new DevProcess(
      folder,
      ["--port", String(port), "--gateway-port", "0", "--", "node", "server.js"],
      {
        SALLYPORT_APP: "",
      },
    );
    onTestFinished(async () => void (await dev.end()));
    await dev.printed(/accepts connections/);
    const page = `http://localhost:${port}`;
    expect(await (await fetch(`${page}/api/config.json`)).json()).toEqual({
      url: expect.stringMatching(/^ws:/),
    });
    const client = await fetch(`${page}/sallyport-client.js`);
    expect(client.headers.get("content-type")).toContain("text/javascript");
    expect(await client.text()).toContain("export");
    const token = await fetch(`${page}/api/ws-token`, { method: "POST", headers: { origin: page } });
    expect(token.status).toBe(401);
  });

  test.each([
    [undefined, "server.mjs", "", "import"],
    ["module", "server.cjs", "", "require"],
    ["module", "server.js", "", "import"],
    [undefined, "server.js", 'import express from "express";', "import"],
    [undefined, "server.js", 'const text = "import";', "require"],
    [undefined, "src/server.ts", "", "import"],
  ])("with type %s and the server %s (%j) prints lines with %s", async (type, file, text, keyword) => {
    await writeApp({ type, dependencies: { fastify: "^5.0.0" } }, { [file]: text });
    const { out } = await init("--yes");
    const [first] = linesAfter(out, /^ {2}Add these lines to your server/);
    expect(first).toMatch(keyword === "import" ? /^import \{/ : /^const \{.*require/);
    const lines = linesAfter(out, /^ {2}Return your signed-in user/);
    expect(lines[0]).toBe('import { fastifyRequest } from "sallyport/adapters/fastify";');
    if (!file.endsWith(".ts")) expect(lines.join("\n")).toContain("const own = fastifyRequest(request);");
  });

  test("with a bundler prints an import of the client", async () => {
    await writeApp({ dependencies: { express: "^5.0.0", vite: "^7.0.0" } });
    const { out } = await init("--yes");
    expect(out).toContain('import { connect } from "sallyport/client";');
    expect(out).not.toContain("sallyport-client.js");
    expect(out).toContain("/config.json");
  });

  test("writes the same code as in a TypeScript app, without the types", async () => {
    await writeApp({ type: "module", dependencies: { pg: "^8.0.0" } });
    await init("--yes");
    const names = ["channels", "chat-view", "permissions", "sallyport", "storage", "user-name"];
    const inJavaScript = await Promise.all(names.map((name) => read(`sallyport/${name}.js`)));
    await rm(join(folder, "sallyport"), { recursive: true });
    await writeApp({ type: "module", dependencies: { pg: "^8.0.0", typescript: "^6.0.0" } });
    await init("--yes");
    const compilerOptions = { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext };
    const compiled = (text: string) => ts.transpileModule(text, { compilerOptions }).outputText;
    for (const [index, name] of names.entries()) {
      const text = inJavaScript[index] ?? "";
      expect(compiled(text)).toBe(compiled((await read(`sallyport/${name}.ts`)).replaceAll('.ts"', '.js"')));
      expect(text).not.toMatch(/\btype\b.*=|: ChatMessage/);
    }
  });

  test("of Next.js writes routes in JavaScript", async () => {
    await writeApp({ dependencies: { next: "^16.0.0" } }, { "app/page.jsx": "" });
    await init("--yes");
    expect(await read("app/ws/chat/[event]/route.js")).toContain('"../../../../sallyport/sallyport.mjs"');
    expect((await written()).sallyport.app).toBe("sallyport/sallyport.mjs");
  });

  test("is a TypeScript app if its server is a .ts file", async () => {
    await writeApp({ type: "module", scripts: { dev: "node src/server.ts" } }, { "src/server.ts": "" });
    await init("--yes");
    expect((await written()).sallyport.app).toBe("src/sallyport/sallyport.ts");
  });
});

describe("the lines that sallyport init prints for a TypeScript app", () => {
  test.each([
    ["express", 'import express from "express"; const app = express();'],
    ["express in CommonJS", 'import express from "express"; const app = express();'],
    ["fastify", 'import Fastify from "fastify"; const fastify = Fastify();'],
    ["hono", 'import { Hono } from "hono"; const app = new Hono();'],
    ["node", "declare function app(request: IncomingMessage, response: ServerResponse): void;"],
  ])("compile with %s", async (title, server) => {
    const [framework = ""] = title.split(" ");
    const version = { express: "^5.0.0", fastify: "^5.0.0", hono: "^4.0.0" }[framework];
    await writeApp({
      ...(title.includes("CommonJS") ? {} : { type: "module" }),
      dependencies: version === undefined ? {} : { [framework]: version },
      devDependencies: { typescript: "^6.0.0" },
    });
    const compilerOptions = {
      module: "nodenext",
      strict: true,
      skipLibCheck: true,
      types: ["node"],
      lib: ["esnext", "dom"],
    };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    await writeFile(join(folder, "server.ts"), "");
    const { out } = await init("--yes");
    await link("sallyport", "zod", "kysely", "libsql", "@types/node");
    if (version !== undefined) await link(framework);
    if (framework === "express") await link("@types/express");
    const mounted = linesAfter(out, /^ {2}Add these lines to your server/);
    await writeFile(join(folder, "server.ts"), [server, ...mounted].join("\n"));
    const lines = linesAfter(out, /^ {2}Return your signed-in user from "authenticate"/);
    const imports = lines.filter((line) => line.startsWith("import "));
    const body = lines.filter((line) => !line.startsWith("import "));
    const declared =
      "declare function readSession(cookie: string | null): Promise<{ userId: string; id: string } | null>;";
    const file = "sallyport/sallyport.ts";
    const app = (await read(file)).replace(/^ *authenticate: .*$/m, body.join("\n"));
    expect(app).not.toContain("authenticate: () => null");
    const page = linesAfter(out, /^ {2}Connect from a page:/).filter((line) => !/script|import/.test(line));
    const client = 'import { connect } from "sallyport/client";';
    await writeFile(join(folder, "page.ts"), [client, ...page].join("\n"));
    const resolve = title.includes("CommonJS") ? "require.resolve(" : "import.meta.resolve(";
    expect(mounted.join("\n")).toContain(resolve);
    await writeFile(join(folder, file), [...imports, declared, app].join("\n"));
    expect((await compile()).stdout).toBe("");
  });
});

describe("the script dev:sallyport", () => {
  test.each([
    ["node server.js", "node server.js"],
    ["node --env-file=.env .", "node --env-file=.env ."],
    ["tsx src/server.ts", "tsx src/server.ts"],
    ["tsx watch src/server.ts", "npm run dev"],
    ["PORT=1 node server.js", "npm run dev"],
    ["node --run serve", "npm run dev"],
    ["bun dev", "npm run dev"],
    ["tsx watch", "npm run dev"],
    ["node --test tests/a.js", "npm run dev"],
    ["node build.js && node server.js", "npm run dev"],
  ])("of an app with the script %j runs %j", async (dev, command) => {
    await writeApp({ type: "module", scripts: { dev } });
    await init("--yes");
    expect((await written()).scripts["dev:sallyport"]).toBe(`sallyport dev -- ${command}`);
  });
});

test("the script dev:sallyport keeps the hooks of a script", async () => {
  await writeApp({ scripts: { predev: "node build.js", dev: "node server.js" } });
  await init("--yes");
  expect((await written()).scripts["dev:sallyport"]).toBe("sallyport dev -- npm run dev");
});

describe("sallyport init in an app with another layout", () => {
  const DEPENDENCIES = { express: "^5.0.0" };

  test("places the files beside the server that a script starts, and runs that script", async () => {
    const scripts = { dev: "vite", start: "node server/index.js" };
    await writeApp(
      { type: "module", scripts, dependencies: DEPENDENCIES },
      { "server/index.js": "", "src/page.js": "" },
    );
    const { out } = await init("--yes");
    expect((await written()).sallyport.app).toBe("server/sallyport/sallyport.js");
    expect((await written()).scripts["dev:sallyport"]).toBe("sallyport dev -- node server/index.js");
    expect(out).toContain('import { sallyport } from "./sallyport/sallyport.js";');
  });

  test("uses the main file of package.json, and the variable of its server", async () => {
    const text = 'const Fastify = require("fastify");\nconst web = Fastify({ logger: true });\n';
    await writeApp({ main: "bin/www.js", dependencies: { fastify: "^5.0.0" } }, { "bin/www.js": text });
    const { out } = await init("--yes");
    expect((await written()).scripts["dev:sallyport"]).toBe("sallyport dev -- node bin/www.js");
    expect(out).toContain('require("../sallyport/sallyport.mjs")');
    expect(out).toContain("web.register(fastifyPlugin(sallyport));");
  });

  test("ignores a server outside of the folder, and values of package.json with a wrong type", async () => {
    await writeApp(
      { type: "module", main: 7, scripts: { dev: 1, start: "node ../other/server.js" } },
      { "server.js/index.js": "", "app/main.js": "" },
    );
    await mkdir(join(folder, "app/other"), { recursive: true });
    const { code, err } = await init("--yes");
    expect([code, err]).toEqual([0, ""]);
    expect((await written()).sallyport.app).toBe("sallyport/sallyport.js");
  });

  test("says that no server was found", async () => {
    await writeApp({ dependencies: DEPENDENCIES });
    expect((await init("--yes")).out).toContain("The server was not found.");
    await writeApp({ dependencies: DEPENDENCIES }, { "server.js": "" });
    expect((await init("--dry-run")).out).not.toContain("The server was not found.");
  });

  test("does not import createServer again, and uses the listener of the server", async () => {
    const text =
      'import { createServer } from "node:http";\ncreateServer(handle).listen(process.env.PORT);\n';
    await writeApp({ type: "module" }, { "server.js": text });
    const { out } = await init("--yes");
    expect(out).not.toContain("import { createServer }");
    expect(out).toContain("return handle(request, response);");
  });

  test("adds no second script to an app of a template, and repeats no steps", async () => {
    expect((await init("--yes", "--template", "express-postgres-react")).code).toBe(0);
    const { code, out } = await init("--yes");
    expect(code).toBe(0);
    expect((await written()).scripts).not.toHaveProperty("dev:sallyport");
    expect(out).not.toContain("Add these lines");
    expect(out).toContain("npm run dev\n");
  });

  test("with Vite names the proxy and the origin of the page", async () => {
    await writeApp({ dependencies: DEPENDENCIES, devDependencies: { vite: "^7.0.0" } });
    const { out } = await init("--yes");
    expect(out).toContain('proxy: { "/api": "http://localhost:3000" }');
    expect(out).toContain("set ORIGIN");
  });

  test("uses the session of express-session", async () => {
    await writeApp({ type: "module", dependencies: { ...DEPENDENCIES, "express-session": "^1.18.0" } });
    expect((await init("--yes")).out).toContain(
      "own?.session?.userId ? { userId: own.session.userId, sessionId: own.sessionID }",
    );
  });

  test.each([
    [
      "kysely",
      "^0.27.6",
      'kysely ^0.27.6, but the new files need 0.28 or newer. Run "npm install kysely@latest" first.',
    ],
    ["zod", "~3.23", 'zod ~3.23, but the new files need 3.24 or newer. Run "npm install zod@latest" first.'],
    ["zod", "^3.24.0", undefined],
    ["zod", "latest", undefined],
    ["kysely", "workspace:*", undefined],
  ])("with %s %s", async (name, range, error) => {
    await writeApp({ type: "module", dependencies: { [name]: range } });
    const { code, err } = await init("--yes");
    expect([code, err]).toEqual(
      error === undefined ? [0, ""] : [1, `sallyport: package.json contains ${error}\n`],
    );
  });

  test("writes the files again if they are gone", async () => {
    await writeApp({ type: "module", dependencies: DEPENDENCIES }, { "server.js": "" });
    await init("--yes");
    await rm(join(folder, "sallyport"), { recursive: true });
    const { out } = await init("--yes");
    expect(out).toContain("+ sallyport/sallyport.js");
    expect(await read("sallyport/sallyport.js")).toContain("createSallyport(");
    const again = await init("--yes");
    expect(again.out).not.toContain("npm install");
  });

  test("without package.json is not replaced by a new app", async () => {
    await writeFile(join(folder, "index.js"), "");
    const { code, err } = await init("--yes");
    expect(code).toBe(1);
    expect(err).toContain('contains index.js, but no package.json. Run "npm init" first');
    expect(await files()).toEqual(["index.js"]);
  });

  test("keeps a byte order mark, and rejects a package.json without an object", async () => {
    await writeFile(join(folder, "package.json"), '\uFEFF{\n  "type": "module"\n}\n');
    expect((await init("--yes")).code).toBe(0);
    const text = await read("package.json");
    expect(text.startsWith('\uFEFF{\n  "type": "module",\n')).toBe(true);
    expect(JSON.parse(text.slice(1)).sallyport.app).toBe("sallyport/sallyport.js");
    await writeFile(join(folder, "package.json"), "[]");
    expect((await init("--yes")).err).toContain("contains no JSON object");
  });

  test("in a workspace uses its package manager, also outside of Git", async () => {
    await writeFile(join(folder, "package.json"), '{"private":true}');
    await writeFile(join(folder, "pnpm-workspace.yaml"), "packages: ['apps/*']\n");
    await writeFile(join(folder, "pnpm-lock.yaml"), "");
    await mkdir(join(folder, "apps/api"), { recursive: true });
    await writeFile(join(folder, "apps/api/package.json"), '{"type":"module"}');
    const { out } = await init("apps/api", "--yes");
    expect(out).toContain("pnpm dev:sallyport");
    expect(out).toContain("pnpm exec sallyport users grant <user id> <permission>");
  });

  test("with TypeScript before 5.8 in CommonJS names the update", async () => {
    await writeApp(
      { dependencies: DEPENDENCIES, devDependencies: { typescript: "5.6.3" } },
      { "server.ts": "" },
    );
    await writeFile(join(folder, "tsconfig.json"), '{ "compilerOptions": { "module": "nodenext" } }');
    await mkdir(join(folder, "node_modules/typescript"), { recursive: true });
    await writeFile(join(folder, "node_modules/typescript/package.json"), '{ "version": "5.6.3" }');
    expect((await init("--yes")).out).toContain("Update TypeScript to 5.8 or newer");
    await writeFile(join(folder, "node_modules/typescript/package.json"), '{ "version": "5.8.0" }');
    expect((await init("--yes")).out).not.toContain("Update TypeScript");
  });
});

describe("sallyport init without a terminal and without --yes", () => {
  test("prints the changes and writes nothing", async () => {
    await writeApp({ name: "shop" });
    const { code, out, err } = await init();
    expect(code).toBe(1);
    expect(out).toContain("+ sallyport/permissions.");
    expect(err).toBe(
      "sallyport: There is no terminal to confirm these changes, so nothing was written. Pass --yes to write them.\n",
    );
    expect(await files()).toEqual(["package.json"]);
  });
});

describe("sallyport init and the files of an app", () => {
  test.each([
    ["sqlite", [], "sallyport dev -- tsx server.ts"],
    ["postgres", ["--database", "postgres"], "sallyport dev --embedded-postgres -- tsx server.ts"],
  ])("uses %s in an app without a database if the options are %j", async (name, options, script) => {
    await writeApp({ dependencies: { express: "^5.0.0", typescript: "^5.9.0" } });
    await init("--yes", ...options);
    expect((await written()).scripts["dev:sallyport"]).toBe(script);
    expect(await read("sallyport/storage.ts")).toContain(`${name}(`);
  });

  test("uses the folder app/ of Next.js if src/ contains other code", async () => {
    await writeApp({ dependencies: { next: "^16.0.0" } }, { "app/page.tsx": "", "src/shop.ts": "" });
    await init("--yes");
    expect(await files()).toEqual(
      expect.arrayContaining(["app/api/ws-token/route.ts", "sallyport/sallyport.ts"]),
    );
    expect((await written()).scripts["dev:sallyport"]).toMatch(/ -- next dev$/);
  });

  test.each([".env", ".env.local", ".env.development"])("uses the DATABASE_URL of %s", async (file) => {
    await writeApp({ scripts: { start: "node ." } }, { [file]: "DATABASE_URL=postgres://db/shop\n" });
    await init("--yes");
    const { devDependencies, scripts } = await written();
    expect(scripts["dev:sallyport"]).toBe("sallyport dev -- node .");
    expect(devDependencies).toBeUndefined();
    expect((await files()).filter((path) => path.startsWith(".env"))).toEqual([file]);
    expect(await read(file)).toBe("DATABASE_URL=postgres://db/shop\n");
  });

  test.each([
    ['{"packageManager":"pnpm@9.0.0"}', "package-lock.json", "pnpm"],
    ["{}", "yarn.lock", "yarn"],
  ])("uses the package manager of the repository with %s and %s", async (description, lock, manager) => {
    await mkdir(join(folder, ".git"));
    await mkdir(join(folder, "packages/shop"), { recursive: true });
    await writeFile(join(folder, "package.json"), description);
    await writeFile(join(folder, lock), "");
    await writeFile(join(folder, "packages/shop/package.json"), '{"scripts":{"dev":"nodemon ."}}');
    await init("packages/shop", "--yes");
    expect(await read("packages/shop/package.json")).toContain(`-- ${manager} run dev"`);
  });

  test.each([".env*", "*.env", "/.env", "**/.env"])("adds nothing to a .gitignore with %s", async (line) => {
    await writeApp({}, { ".gitignore": `${line}\n` });
    await init("--yes", "--database", "postgres");
    expect(await read(".gitignore")).toBe(`${line}\n`);
  });

  test.each(["data", "/data/", "data/*"])("adds no folder to a .gitignore with %s", async (line) => {
    await writeApp({ dependencies: { libsql: "^0.5.0" } }, { ".gitignore": `${line}\n` });
    await init("--yes");
    expect(await read(".gitignore")).toBe(`${line}\n`);
  });

  test("adds .env to a .gitignore that excludes other files only", async () => {
    await writeApp({}, { ".gitignore": ".env.*\n.env\n!.env\n" });
    await init("--yes", "--database", "postgres");
    expect(await read(".gitignore")).toBe(".env.*\n.env\n!.env\n.env\n");
  });

  test("keeps the line ends of edited files", async () => {
    await writeApp({}, { ".gitignore": "dist\r\n", ".env": "SHOP=1\r\n" });
    await writeFile(join(folder, "package.json"), '{\r\n  "name": "shop"\r\n}\r\n');
    await init("--yes", "--database", "postgres");
    for (const file of ["package.json", ".gitignore", ".env"]) {
      expect((await read(file)).replaceAll("\r\n", ""), file).not.toContain("\n");
    }
  });

  test.each([["--yes"], ["--json"]])("prints the next steps if installing fails, with %s", async (option) => {
    await writeApp({});
    const npm = join(folder, "bin/npm");
    await mkdir(join(folder, "bin"));
    await writeFile(npm, "#!/bin/sh\nexit 3\n");
    await chmod(npm, 0o755);
    const path = `${join(folder, "bin")}:${process.env.PATH}`;
    const args = ["init", option, "--package-manager", "npm"];
    const { code, out, err } = await commandLineWith(args, { SALLYPORT_APP: "", PATH: path }, folder);
    expect(code).toBe(1);
    expect(err).toContain('"npm install" failed (exit code 3)');
    if (option === "--json") expect(JSON.parse(out).next).toContain("npm install");
    else expect(out).toMatch(/^Next:\n {2}npm install\n/m);
  });
});

test("both pages of the templates have the same style", async () => {
  const [plain, react] = await Promise.all(
    ["page/public/style.css", "react/page/style.css"].map((path) =>
      readFile(join(root, "templates", path), "utf8"),
    ),
  );
  expect(react).toBe(plain);
});
