import { type ChildProcess, execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Clock } from "./control-plane/rates.ts";
import { ControlPlane } from "./control-plane/server.ts";

const root = resolve(import.meta.dirname, "../..");
let folder: string;
let aws: ControlPlane;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-gateway-cli-"));
  aws = await ControlPlane.start("eu-west-1", new Clock({ runs: true }));
});
afterAll(async () => {
  await aws.close();
  await rm(folder, { recursive: true, force: true });
});

/**
 * Runs the command line in a terminal. The AWS SDK reads its endpoint and key from the environment.
 */
function sallyport(args: string[], env: Record<string, string> = {}, onError?: OnError) {
  const all = {
    ...process.env,
    SALLYPORT_APP: join(root, "test/processes/gateway-app.ts"),
    TEST_DATABASE: join(folder, "cli.db"),
    AWS_ENDPOINT_URL: aws.endpoint,
    AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
    AWS_SECRET_ACCESS_KEY: "not a secret",
    AWS_EC2_METADATA_DISABLED: "true",
    NODE_NO_WARNINGS: "1",
    ...env,
  };
  return new Promise<{ code: number | null; out: string; err: string }>((done) => {
    const child = execFile(
      process.execPath,
      [join(root, "bin/sallyport.js"), "gateway", ...args],
      { env: all, cwd: folder },
      (_error, out, err) => done({ code: child.exitCode, out, err }),
    );
    child.stdin?.end();
    child.stderr?.on("data", (text) => onError?.(String(text), child));
  });
}

/** Called with each chunk of stderr. */
type OnError = (text: string, child: ChildProcess) => void;

test("F55, F56 the commands print the life cycle of a gateway from plan to destroy", async () => {
  const migrated = await new Promise<string>((done) => {
    const env = {
      ...process.env,
      SALLYPORT_APP: join(root, "test/processes/gateway-app.ts"),
      TEST_DATABASE: join(folder, "cli.db"),
    };
    execFile(process.execPath, [join(root, "bin/sallyport.js"), "migrate"], { env }, (_error, out) =>
      done(out),
    );
  });
  expect(migrated).toMatch(/^migrated: /);

  const plan = await sallyport(["plan"]);
  expect(plan).toMatchObject({ code: 0, err: "" });
  expect(plan.out.split("\n").slice(0, 4)).toEqual([
    "+ create note in the database that the API is being made",
    '+ create API "chat"',
    "    RouteSelectionExpression: $request.body.action",
    "+ create integration of $connect",
  ]);
  expect(aws.apis.all()).toEqual([]);
  expect(await sallyport(["status"])).toMatchObject({
    code: 1,
    out: expect.stringMatching(/^There is no API at AWS yet\./),
  });

  const applied = await sallyport(["apply", "chat", "--reason", "first light"]);
  expect(applied).toMatchObject({
    code: 0,
    out: expect.stringMatching(
      /^API {2}.*\nURL {2}.*\n[\s\S]*\nDNS {2}.*ws\.example\.com CNAME .*\nThe gateway matches its definition\.\n$/,
    ),
  });
  expect(applied.err).toContain("+ create domain ws.example.com\n");
  expect(await sallyport(["apply"])).toMatchObject({
    code: 0,
    out: "Nothing had to be done. The gateway matches its definition.\n",
    err: "",
  });

  const [api] = aws.apis.all();
  const status = await sallyport(["status"]);
  expect(status).toMatchObject({ code: 0, err: "" });
  expect(status.out).toMatch(
    new RegExp(
      [
        `^API             ${api?.ApiId}`,
        "URL             wss://ws\\.example\\.com",
        `Management API  https://${api?.ApiId}\\.execute-api\\.eu-west-1\\.amazonaws\\.com/production/@connections`,
        "deployed        \\d{4}-\\d\\d-\\d\\dT.*Z",
        "DNS             ws\\.example\\.com CNAME d-\\w{10}\\.execute-api.* \\(an alias in Route 53: zone Z\\w+\\)",
        "The gateway matches its definition\\.\n$",
      ].join("\n"),
    ),
  );
  expect(JSON.parse((await sallyport(["status", "--json"])).out)).toMatchObject({
    apiId: api?.ApiId,
    steps: [],
    secrets: 1,
  });

  // A rotation that stops while it waits after its deployment denies no call. Apply finishes it.
  const deployments = () =>
    aws.calls.filter(({ operation, status }) => operation === "CreateDeployment" && status === 201).length;
  const before = deployments();
  let stopping: Promise<unknown> | undefined;
  const stopped = await sallyport(["rotate-secret", "--reason", "leaked"], {}, (text, child) => {
    if (!text.includes("deploy stage production")) return;
    stopping = expect
      .poll(deployments)
      .toBe(before + 1)
      .finally(() => child.kill("SIGTERM"));
  });
  await stopping;
  expect(stopped).toMatchObject({ code: 1, out: "" });
  expect(stopped.err).toMatch(
    /> deploy stage production\nsallyport: The run was interrupted\. .* to continue from there\.\n$/,
  );
  const between = await sallyport(["status"]);
  expect(between.out).toMatch(
    /\nsecrets {9}2 are accepted, because a rotation is in progress or was interrupted\. Run apply\.\n/,
  );
  expect(await sallyport(["apply"])).toMatchObject({
    code: 0,
    err: "- remove the former secret from the record in the database\n",
  });

  const policy = JSON.parse((await sallyport(["policy", "--json"])).out) as { runtime: object };
  expect(JSON.stringify(policy.runtime)).toContain(
    `:execute-api:eu-west-1:123456789012:${api?.ApiId}/production/POST/@connections/*`,
  );
  const template = JSON.parse((await sallyport(["export", "--format", "cloudformation"])).out) as {
    Resources: object;
  };
  expect(Object.keys(template.Resources)).toContain("RouteConnect");

  expect(await sallyport(["destroy", "chat"])).toMatchObject({
    code: 1,
    out: "",
    err: expect.stringMatching(
      /- remove API "chat"\n[\s\S]*sallyport: This closes every open connection and cannot be undone\. No terminal is available to confirm it\. Pass --yes\.\n$/,
    ),
  });
  expect(aws.apis.all()).toHaveLength(1);
  expect(await sallyport(["destroy", "chat", "--yes"])).toMatchObject({
    code: 0,
    out: "The gateway does not exist any more.\n",
  });
  expect(aws.apis.all()).toEqual([]);
  expect(await sallyport(["destroy", "chat"])).toMatchObject({
    code: 0,
    out: 'Gateway "chat" has nothing to remove.\n',
  });
});

test("apply --all applies each gateway of the app, and prints the address of each", async () => {
  const env = { TEST_SECOND_GATEWAY: "1", TEST_DATABASE: join(folder, "all.db") };
  expect((await sallyport(["apply", "chat", "--all"], env)).err).toContain(
    'Pass the name "chat" or --all, but not both.',
  );
  expect((await sallyport(["apply"], env)).err).toContain("Use one of: chat, second.");
  const cli = [join(root, "bin/sallyport.js"), "migrate"];
  const app = { SALLYPORT_APP: join(root, "test/processes/gateway-app.ts"), ...env };
  await promisify(execFile)(process.execPath, cli, { env: { ...process.env, ...app } });
  const applied = await sallyport(["apply", "--all"], env);
  expect(applied).toMatchObject({ code: 0 });
  expect(applied.out).toMatch(/^Gateway "chat":\nAPI .*\nURL [\s\S]*^Gateway "second":\nAPI .*\nURL /m);
  const again = await sallyport(["apply", "--all", "--json"], env);
  expect(JSON.parse(again.out)).toEqual([
    { gateway: "chat", steps: [] },
    { gateway: "second", steps: [] },
  ]);
  for (const name of ["chat", "second"]) await sallyport(["destroy", name, "--yes"], env);
  expect(aws.apis.all()).toEqual([]);
});

test("an error is one line that contains what to do", async () => {
  const wrong = async (args: string[], env?: Record<string, string>) => {
    const { code, out, err } = await sallyport(args, env);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err.trimEnd()).not.toContain("\n");
    return err;
  };
  expect(await wrong(["plan", "chta"])).toBe(
    'sallyport: The app defines no gateway "chta". Did you mean "chat"? Use one of: chat.\n',
  );
  expect(await wrong(["destroy"])).toMatch(/missing required argument 'name'/);
  expect(await wrong(["import", "chat", "nothere123"])).toMatch(
    /^sallyport: GetApi in eu-west-1 was answered 404: NotFoundException/,
  );
  expect(await wrong(["rotate-secret"])).toMatch(/has not been applied yet, so it has no secret to rotate/);
  expect(await wrong(["export", "--format", "terraform"])).toMatch(/Allowed choices are cloudformation/);
  expect(await wrong(["plan"], { AWS_ENDPOINT_URL: "http://127.0.0.1:1" })).toMatch(
    /GetApis in eu-west-1 was not answered/,
  );
  expect(await wrong(["plan"], { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "", HOME: folder })).toMatch(
    /No credentials were found\. Set AWS_PROFILE/,
  );
  aws.fault = () => ({ kind: "rejected", status: 403, type: "AccessDeniedException" });
  const { err } = await sallyport(["apply"]);
  aws.fault = () => undefined;
  expect(err).toMatch(
    /sallyport: CreateApi in eu-west-1 was answered 403: AccessDeniedException: .*`sallyport gateway policy`/,
  );
});
