/**
 * `npm run bench:lambda`: builds the template `hono-lambda`, and prints the size of the bundle and
 * the time of a cold start. The baseline is a bundle of Hono alone.
 */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

const ROUNDS = 15;
const root = resolve(import.meta.dirname, "../..");
const parent = await mkdtemp(join(tmpdir(), "sallyport-lambda-"));
const folder = join(parent, "app");

/** Imports a handler in a new process, and calls it with a request of a page. */
const MEASURE = `
const cpu = process.cpuUsage();
const startedAt = performance.now();
const { handler } = await import(process.argv[1]);
const requestContext = { http: { method: "GET", path: "/api/session" }, requestId: "1" };
const event = { version: "2.0", rawPath: "/api/session", rawQueryString: "", headers: { host: "x" }, requestContext };
const { statusCode } = await handler(event, {});
const { user, system } = process.cpuUsage(cpu);
console.log(JSON.stringify({ statusCode, ms: performance.now() - startedAt, cpuMs: (user + system) / 1000 }));
`;

/** A function that answers the same request with Hono alone. */
const BASELINE = `
import { Hono } from "hono";
import { handle } from "hono/aws-lambda";
const app = new Hono();
app.get("/api/session", (context) => context.json({ user: null }));
export const handler = handle(app);
`;

interface Start {
  readonly statusCode: number;
  readonly ms: number;
  readonly cpuMs: number;
}

function start(file: string): Start {
  const env = {
    ...process.env,
    NODE_ENV: "production",
    SESSION_SECRET: "secret",
    DATABASE_URL: "postgres://x@127.0.0.1/x",
  };
  const text = execFileSync(process.execPath, ["--input-type=module", "-e", MEASURE, file], {
    encoding: "utf8",
    env,
  });
  const measured = JSON.parse(text) as Start;
  if (measured.statusCode !== 200) throw new Error(`${file} answered ${measured.statusCode} instead of 200.`);
  return measured;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

async function report(name: string, file: string, starts: readonly Start[]): Promise<void> {
  const bundle = await readFile(file);
  const sizes = [bundle.length, gzipSync(bundle).length].map((bytes) => Math.round(bytes / 1000));
  const times = [starts.map(({ ms }) => ms), starts.map(({ cpuMs }) => cpuMs)].map((each) =>
    Math.round(median(each)),
  );
  console.log([name, ...sizes, ...times].join(" | "));
}

try {
  const bin = join(root, "bin/sallyport.js");
  const options = ["--template", "hono-lambda", "--yes", "--no-install", "--json"];
  execFileSync(process.execPath, [bin, "init", folder, ...options], { stdio: "ignore" });
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  await mkdir(join(parent, "node_modules"));
  await symlink(root, join(parent, "node_modules/sallyport"));
  await writeFile(join(folder, "src/baseline.ts"), BASELINE);
  execFileSync(process.execPath, ["build.js"], { cwd: folder });
  const build = (await readFile(join(folder, "build.js"), "utf8")).replaceAll("lambda.", "baseline.");
  await writeFile(join(folder, "build-baseline.js"), build);
  execFileSync(process.execPath, ["build-baseline.js"], { cwd: folder });
  const [lambda, baseline] = [join(folder, "dist/lambda.mjs"), join(folder, "dist/baseline.mjs")];
  const starts: Record<"lambda" | "baseline", Start[]> = { lambda: [], baseline: [] };
  // In turn, so that other work on the machine affects both.
  for (let round = 0; round < ROUNDS; round++) {
    starts.lambda.push(start(lambda));
    starts.baseline.push(start(baseline));
  }
  console.log("bundle | kB | kB with gzip | first response, ms | processor, ms");
  await report("hono-lambda", lambda, starts.lambda);
  await report("Hono alone", baseline, starts.baseline);
} finally {
  await rm(parent, { recursive: true, force: true });
}
