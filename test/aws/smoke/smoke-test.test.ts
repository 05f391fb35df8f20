import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CHECKS } from "../../aws-account/checks/all-checks.ts";
import { AccountWorld, REGION } from "./account-world.ts";
import { selfSigned } from "./certificate.ts";

const tls = selfSigned();
const page = readFileSync(resolve(import.meta.dirname, "../../../docs/operations/aws-smoke-test.md"), "utf8");
/** The IAM policy in the documentation. */
const policy = JSON.parse(/```json\n([\s\S]*?)```/.exec(page)?.[1] ?? "null");

const YES = ["--region", REGION, "--yes"];

if (tls === undefined) {
  test("the smoke test", ({ skip }) => {
    skip("openssl is not installed, so the smoke test has no TLS to run with.");
  });
}

describe.skipIf(tls === undefined)("npm run test:aws", () => {
  let world: AccountWorld;
  beforeEach(async () => {
    world = await AccountWorld.open(tls as NonNullable<typeof tls>, { probeTimeoutMs: 5000 });
  });
  afterEach(() => world.close());

  test("prints what it would create without --yes, and creates nothing", async () => {
    const { code, lines } = await world.run(["--region", REGION]);
    expect(code).toBe(1);
    expect(lines.slice(0, 3)).toEqual([
      "account  123456789012",
      "caller   arn:aws:sts::123456789012:assumed-role/deploy/ci",
      "region   eu-west-1",
    ]);
    expect(lines.join("\n")).toMatch(/Estimated cost: below .* USD[\s\S]*Nothing was created\. Add --yes/);
    expect(world.aws.calls.map(({ operation }) => operation)).toEqual(["GetCallerIdentity"]);
  });

  test.each([
    [["--yes"], /^--region is missing, and the run uses no default region\./],
    [["--region", "moon-1", "--yes"], /^--region moon-1 is not a region of the partition "aws"/],
    [["--region", "cn-north-1", "--yes"], /^--region cn-north-1 is not a region of the partition "aws"/],
    [
      [...YES, "--only", "nothing"],
      /^--only: no check has the fact "nothing"\. Use some of: connect-accepted,/,
    ],
    [[...YES, "--run", "abc"], /^--run applies only with --remove\./],
    [[...YES, "--fast"], /^Unknown option '--fast'/],
  ])("refuses %j", async (args, message) => {
    const { code, lines } = await world.run(args);
    expect(code).toBe(1);
    expect(lines[0]).toMatch(message);
    expect(world.aws.calls).toEqual([]);
  });

  test("passes all checks with the documented policy, and removes everything", async () => {
    world.aws.iam.policy = policy;
    world.aws.deployed.roleRejections = 1;
    let role: readonly string[] = [];
    let tags: readonly unknown[] = [];
    let concurrency: unknown;
    const { code, lines } = await world.run(YES, (line) => {
      if (!line.includes(" serves after ")) return;
      const { apis, roles, deployed } = world.aws;
      role = roles.names().flatMap((name) => roles.policiesOf(name));
      tags = [
        ...apis.all().map(({ Tags }) => Tags?.["sallyport-smoke"]),
        ...deployed.all().map((each) => each.tags["sallyport-smoke"]),
        ...roles.names().map((name) => roles.tagsOf(name)["sallyport-smoke"]),
      ];
      concurrency = deployed.all()[0]?.concurrency;
    });
    const quick = CHECKS.filter(({ isLong }) => !isLong);
    expect(lines.filter((line) => /^(FAILED|DIFFERS|The run failed)/.test(line))).toEqual([]);
    expect(lines.flatMap((line) => /^passed {3}([\w-]+):/.exec(line)?.[1] ?? [])).toEqual(
      quick.map(({ fact }) => fact),
    );
    expect(lines).toContain(`${quick.length} passed, 0 differ from the recorded fact, 0 failed`);
    expect(code).toBe(0);
    const [, runId] = /The id of this run is (\w+)\./.exec(lines.join("\n")) ?? [];
    expect(tags).toEqual(Array(4).fill(runId));
    expect(concurrency).toBe(1);
    expect(role.join()).toContain(`/sallyport-smoke-${runId}-http/POST/@connections/*`);
    expect(role.join()).not.toContain(":*:*/*/");
    expect(world.resources).toEqual([]);
    expect(world.functions.names).toEqual([]);
  });
});

describe.skipIf(tls === undefined)("npm run test:aws against another behavior", () => {
  test("prints what differs from the recorded fact, and removes everything", async () => {
    const world = await AccountWorld.open(tls as NonNullable<typeof tls>, { onHttpError: "errorFrame" });
    const { code, lines } = await world.run([...YES, "--only", "http-error-body,http-api-id"]);
    expect(lines.join("\n")).toMatch(
      /\nDIFFERS {2}http-error-body: .*\n +recorded: the 404, the 500\n +seen: +\{"message": "Internal server error"/,
    );
    expect(lines).toContain("1 passed, 1 differ from the recorded fact, 0 failed");
    expect(code).toBe(1);
    expect(world.resources).toEqual([]);
    await world.close();
  });

  test("--long waits until connections are closed", async () => {
    const limits = { idleTimeoutMs: 1500, maxConnectionMs: 4000 };
    const world = await AccountWorld.open(tls as NonNullable<typeof tls>, limits);
    const { code, lines } = await world.run([
      ...YES,
      "--long",
      "--only",
      "idle-timeout,ping-idle,max-duration",
    ]);
    expect(lines).toContain("3 passed, 0 differ from the recorded fact, 0 failed");
    expect(code).toBe(0);
    await world.close();
  });
});
