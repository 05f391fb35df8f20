import { afterEach, beforeEach, expect, test } from "vitest";
import { emptyDatabase, isPostgres, type TestDatabase } from "../postgres/database.ts";
import { BANNER, bundleWithEsbuild, deploymentFolder } from "./bundle.ts";
import { expectConversation, type Seen } from "./conversation.ts";
import { RunningApp } from "./running-app.ts";

let database: TestDatabase;
let deployment: Awaited<ReturnType<typeof deploymentFolder>>;
const running: RunningApp[] = [];

beforeEach(async () => {
  database = await emptyDatabase();
  // pg is part of the bundle. libsql has a native file.
  deployment = await deploymentFolder(...(isPostgres ? [] : ["libsql"]));
});
afterEach(async () => {
  for (const app of running.splice(0)) await app.stop();
  await deployment.remove();
  await database.drop();
});

async function start(file: string): Promise<RunningApp> {
  const app = await RunningApp.start([process.execPath, file], database.source);
  running.push(app);
  return app;
}

/** Does not define tests of one database's package when the other database is tested. */
const ignore: typeof test = Object.assign(() => undefined, {}) as never;
const onPostgres = isPostgres ? test : ignore;
const onSqlite = isPostgres ? ignore : test;

const FORMATS = [
  ["an ES module with the banner", "esm", { banner: { js: BANNER } }],
  ["ES modules with the banner, split into chunks", "esm", { banner: { js: BANNER }, splitting: true }],
  ["CommonJS", "cjs", {}],
] as const;

test.each(FORMATS)("serves HTTP and Lambda events when bundled as %s", async (_what, format, options) => {
  const app = await start(await bundleWithEsbuild(deployment.folder, format, options));
  await app.control("migrate");
  await expectConversation(app, await app.httpGateway());
  await expectConversation(app, await app.lambdaGateway());
});

onPostgres(
  "reports what an ES module without the banner lacks, and does not suggest installing pg",
  async () => {
    const app = await start(await bundleWithEsbuild(deployment.folder, "esm"));
    // The second attempt must not find a partly loaded package of the first one.
    for (let attempt = 0; attempt < 2; attempt++) {
      const failure = app.control("migrate");
      await expect(failure).rejects.toThrow(
        /^StorageError: The PostgreSQL storage could not load the package pg: Dynamic require of "events" is not supported\. .* createRequire/,
      );
      await expect(failure).rejects.not.toThrow(/npm install/);
    }
  },
);

onSqlite("reports an external package that is missing beside the bundle", async () => {
  await deployment.remove();
  deployment = await deploymentFolder();
  for (const [, format, options] of FORMATS) {
    const app = await start(await bundleWithEsbuild(deployment.folder, format, options));
    await expect(app.control("migrate")).rejects.toThrow(
      "StorageError: The SQLite storage needs the package libsql, which is not installed. Run: npm install libsql",
    );
  }
});

onSqlite("reports that an ES module without the banner cannot send", async () => {
  const app = await start(await bundleWithEsbuild(deployment.folder, "esm"));
  await app.control("migrate");
  const gateway = await app.httpGateway();
  await app.control("grant", { user: "ann" });
  const ann = await app.connect(gateway, "ann");
  expect(await ann.result("say")).toMatchObject({ sent: 0 });
  await app.control("revoke", { user: "ann" });
  const reported = async () => (await app.control<Seen>("seen")).errors.map(({ message }) => message);
  const failure = expect.stringMatching(
    /Sending could not load the package undici: Dynamic require of .* createRequire/,
  );
  await expect.poll(reported).toContainEqual(failure);
  ann.terminate();
});

onSqlite("reports the missing native file of a bundled libsql", async () => {
  const app = await start(await bundleWithEsbuild(deployment.folder, "cjs", { external: ["@libsql/*"] }));
  await expect(app.control("migrate")).rejects.toThrow(
    /^StorageError: The SQLite storage could not load the package libsql: Cannot find module '@libsql\/.*keep libsql external/,
  );
});
