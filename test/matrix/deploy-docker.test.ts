import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../bench/src/free-port.ts";
import { startServer, type TestServer } from "../../bench/src/postgres-server.ts";
import { gatewaySecret } from "../../src/aws.ts";
import { installPackages } from "../packages/install.ts";
import { commandEnv, run } from "./commands.ts";
import { packTarball } from "./consumer.ts";
import { buildImage, type Image } from "./deploy/image.ts";
import { EXAMPLES } from "./deploy-examples.ts";

let folder: string;
let image: Image;
let database: TestServer;

beforeAll(async () => {
  const packages = await installPackages("deploy");
  folder = await mkdtemp(join(tmpdir(), "sallyport-docker-"));
  database = await startServer();
  const context = join(folder, "context");
  await cp(EXAMPLES, context, { recursive: true });
  const description = JSON.parse(await readFile(join(context, "package.json"), "utf8"));
  // The package is not published yet.
  description.dependencies.sallyport = `file:${await packTarball(folder)}`;
  // Kysely 0.29 needs Node 22.
  description.dependencies.kysely = ">=0.28.18 <0.30";
  // The image does not contain them, and they are large.
  for (const name of ["aws-cdk", "aws-cdk-lib", "constructs"]) delete description.devDependencies[name];
  await writeFile(join(context, "package.json"), JSON.stringify(description));
  await run(["npm", "install", "--package-lock-only", "--no-audit", "--no-fund"], { cwd: context });
  const dockerfile = await readFile(join(EXAMPLES, "docker/Dockerfile"), "utf8");
  image = await buildImage(packages, dockerfile, context, join(folder, "stages"));
});
afterAll(async () => {
  await database?.stop();
  await rm(folder, { recursive: true, force: true });
});

test("the image contains the app without development packages, and does not run as root", async () => {
  expect(image.user).toBe("node");
  expect(image.command).toEqual(["node", "dist/server.js"]);
  expect(image.downloads).toEqual(["https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"]);
  const installed = await readdir(join(image.workdir, "node_modules"));
  expect(installed).toEqual(expect.arrayContaining(["sallyport", "kysely", "pg"]));
  for (const name of ["esbuild", "tsx"]) expect(installed).not.toContain(name);
});

test("a container migrates, registers the gateway, serves it, and exits after SIGTERM", async () => {
  const secret = gatewaySecret();
  const endpoint = "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/production";
  const port = await freePort();
  const env = {
    ...image.env,
    // ADD downloads this file, which this test cannot do.
    NODE_EXTRA_CA_CERTS: "",
    DATABASE_URL: database.url,
    SALLYPORT_GATEWAY: JSON.stringify({ name: "chat", apiId: "a1b2c3d4e5", stage: "production", endpoint }),
    SALLYPORT_SECRET: secret,
    PORT: String(port),
  };
  const [, ...args] = image.command;
  const container = spawn(process.execPath, args, {
    cwd: image.workdir,
    env: commandEnv({ cwd: image.workdir, env }),
    stdio: ["ignore", "ignore", "inherit"],
  });
  try {
    const url = `http://127.0.0.1:${port}`;
    await expect.poll(() => statusOf(`${url}/healthz`)).toBe(200);
    const call = (headers: Record<string, string>) =>
      statusOf(`${url}/ws/chat/disconnect`, { method: "POST", headers });
    const context = { connectionId: "L0SM9cOFvHcCIhw=", "x-amzn-apigateway-api-id": "a1b2c3d4e5" };
    expect(await call(context)).toBe(403);
    expect(await call({ ...context, "x-sallyport-secret": secret })).toBe(200);
    expect(await stopped(container)).toEqual([0, null]);
  } finally {
    container.kill("SIGKILL");
  }
});

async function statusOf(url: string, init?: RequestInit): Promise<number | undefined> {
  return fetch(url, init).then(
    ({ status }) => status,
    () => undefined,
  );
}

/** Sends SIGTERM, and returns the exit code and the signal that ended the process. */
async function stopped(container: ChildProcess): Promise<unknown[]> {
  const exited = once(container, "exit");
  container.kill("SIGTERM");
  return exited;
}
