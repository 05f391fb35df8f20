import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AccountWorld, REGION } from "../aws/smoke/account-world.ts";
import { selfSigned } from "../aws/smoke/certificate.ts";

const tls = selfSigned();
const YES = ["--region", REGION, "--yes"];
/** A check that needs the whole environment, and takes little time. */
const QUICK = [...YES, "--only", "connect-accepted"];
const REJECTED = { kind: "rejected", status: 403, type: "AccessDeniedException" } as const;

if (tls === undefined) {
  test("the removal of the smoke test", ({ skip }) => {
    skip("openssl is not installed, so the smoke test has no TLS to run with.");
  });
}

describe.skipIf(tls === undefined)("npm run test:aws", () => {
  let world: AccountWorld;
  beforeEach(async () => {
    world = await AccountWorld.open(tls as NonNullable<typeof tls>);
  });
  afterEach(() => world.close());

  test.each([
    "CreateRole",
    "PutRolePolicy",
    "CreateFunction",
    "PutFunctionConcurrency",
    "CreateFunctionUrlConfig",
    "AddPermission",
    "CreateApi",
    "CreateDeployment",
    "Invoke",
  ])("removes everything if %s is rejected", async (operation) => {
    world.aws.fault = (name) => (name === operation ? REJECTED : undefined);
    const { code, lines } = await world.run(QUICK);
    expect(code).toBe(1);
    expect(lines.filter((line) => line.startsWith("The run failed: "))).toHaveLength(1);
    expect(world.aws.calls.some(({ operation: name }) => name === operation)).toBe(true);
    expect(world.resources).toEqual([]);
  });

  test.each(["CreateRole", "CreateFunction"])(
    "removes what a lost answer of %s created",
    async (operation) => {
      let isLost = false;
      world.aws.fault = (name) => {
        if (name !== operation || isLost) return undefined;
        isLost = true;
        return { kind: "answer lost" };
      };
      const { code, lines } = await world.run(QUICK);
      expect(code).toBe(1);
      expect(lines.some((line) => line.startsWith("removed "))).toBe(true);
      expect(world.resources).toEqual([]);
    },
  );

  test("explains a quota that allows no reserved concurrency", async () => {
    world.aws.deployed.concurrencyRejection =
      "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [10].";
    const { lines } = await world.run(QUICK);
    expect(lines.join("\n")).toContain('Request a higher quota "Concurrent executions" of AWS Lambda');
    expect(world.resources).toEqual([]);
  });

  test("prints what remains and how to remove it, and --remove removes it later", async () => {
    world.aws.fault = (name) => (/^Delete(Role|Function)$/.test(name) ? REJECTED : undefined);
    const { code, lines } = await world.run(QUICK);
    expect(code).toBe(1);
    expect(lines).toContain("1 passed, 0 differ from the recorded fact, 0 failed");
    const [, runId] = /The id of this run is (\w+)\./.exec(lines.join("\n")) ?? [];
    const name = `sallyport-smoke-${runId}`;
    expect(world.resources).toEqual([`function ${name}`, `role ${name}`]);
    expect(lines.slice(-4)).toEqual([
      "These resources remain. Remove them with the following commands:",
      `  aws lambda delete-function --region eu-west-1 --function-name ${name}`,
      `  aws iam delete-role-policy --role-name ${name} --policy-name sallyport-smoke`,
      `  aws iam delete-role --role-name ${name}`,
    ]);
    world.aws.fault = () => undefined;
    expect(await world.run(["--region", REGION, "--remove"])).toMatchObject({ code: 0 });
    expect(world.resources).toEqual([]);
  });

  test.each([
    ["SIGINT", /^create URL of the function/],
    ["SIGTERM", /^create route \$connect/],
    ["SIGINT", /^passed {3}connect-accepted/],
  ] as const)("removes everything after %s at %s", async (signal, at) => {
    const { code, lines } = await world.run(YES, (line, child) => {
      // Both the terminal and npm can send the signal.
      if (at.test(line) || line === "The run was interrupted.") child.kill(signal);
    });
    expect(lines).toContain("The run was interrupted.");
    expect(code).toBe(1);
    expect(world.resources).toEqual([]);
  });

  test("--remove removes what killed runs left, and nothing else", async () => {
    const { aws } = world;
    // Functions of others are only listed.
    const { host } = aws.deployed;
    aws.deployed.host = undefined;
    aws.roles.CreateRole({ RoleName: "sallyport-smoke-like", AssumeRolePolicyDocument: "{}" });
    await aws.deployed.CreateFunction({
      FunctionName: "chat",
      Role: "arn:aws:iam::123456789012:role/chat",
      Code: {},
    });
    aws.deployed.host = host;
    for (const at of [/^create function/, /^create route \$connect/, / serves after /]) {
      await world.run(QUICK, (line, child) => {
        if (at.test(line)) child.kill("SIGKILL");
      });
    }
    // The local gateway serves the first two APIs, so this one is created last.
    aws.apis.CreateApi({
      ProtocolType: "WEBSOCKET",
      Name: "sallyport-smoke-like",
      RouteSelectionExpression: "a",
    });
    const others = ["API sallyport-smoke-like", "function chat", "role sallyport-smoke-like"];
    const ours = world.resources.filter((resource) => !others.includes(resource));
    expect(ours.filter((resource) => resource.startsWith("role "))).toHaveLength(3);

    const [, last] = /^role sallyport-smoke-(\w+)$/.exec(ours.at(-1) ?? "") ?? [];
    expect(await world.run(["--region", REGION, "--remove", "--run", last ?? ""])).toMatchObject({ code: 0 });
    expect(world.resources.filter((resource) => resource.includes(last ?? ""))).toEqual([]);
    expect(world.resources.filter((resource) => resource.startsWith("role "))).toHaveLength(3);

    expect(await world.run(["--region", REGION, "--remove"])).toMatchObject({ code: 0 });
    expect(world.resources).toEqual(others);
    const { lines } = await world.run(["--region", REGION, "--remove"]);
    expect(lines.at(-1)).toBe("No resource is left.");
  });
});
