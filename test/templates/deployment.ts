import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { Clock } from "../aws/control-plane/rates.ts";
import { ControlPlane } from "../aws/control-plane/server.ts";
import { hasCfnLint, lintTemplate } from "../matrix/cfn-lint.ts";
import type { GeneratedApp } from "./generated-app.ts";

const ORIGIN = "https://www.example.com";
const CREDENTIALS = {
  AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
  AWS_SECRET_ACCESS_KEY: "not a secret",
  AWS_EC2_METADATA_DISABLED: "true",
};

/** Runs `npm run deploy` of a server. It creates the API Gateway, here at a stand-in for AWS. */
export async function deployServer(app: GeneratedApp): Promise<void> {
  const aws = await ControlPlane.start("eu-west-1", new Clock({ runs: true }));
  try {
    const env = { ...CREDENTIALS, AWS_ENDPOINT_URL: aws.endpoint, ORIGIN };
    expect(await app.runWith(env, "npm", "run", "deploy")).toMatch(/^URL +wss:\/\/\S+\/production$/m);
    expect(aws.apis.all().map(({ Name }) => Name)).toEqual(["chat production"]);
  } finally {
    await aws.close();
  }
}

interface Template {
  readonly Resources: Readonly<
    Record<
      string,
      {
        readonly Type: string;
        readonly Properties: Readonly<Record<string, unknown>>;
        readonly DependsOn?: readonly string[];
      }
    >
  >;
}

/** Synthesizes the stack of the template `hono-lambda`, and invokes its function that prepares the database. */
export async function deployFunction(app: GeneratedApp): Promise<void> {
  await app.run("npx", "tsc", "-p", "deploy");
  await app.runWith(CREDENTIALS, "npx", "cdk", "synth", "--quiet", "--no-notices");
  const file = join(app.folder, "cdk.out/Chat.template.json");
  if (hasCfnLint) expect(lintTemplate(file)).toBe("");
  const { Resources } = JSON.parse(await readFile(file, "utf8")) as Template;
  const functions = Object.values(Resources).filter(({ Properties }) =>
    /^(lambda|maintenance)\./.test(String(Properties.Handler)),
  );
  expect(functions.map(({ Properties }) => Properties.Handler).sort()).toEqual([
    "lambda.handler",
    "maintenance.changeAccess",
    "maintenance.cleanup",
    "maintenance.migrate",
  ]);
  // New code serves after the migration.
  const [chat] = functions.filter(({ Properties }) => Properties.Handler === "lambda.handler");
  expect(chat?.DependsOn).toContain("MigrateNow");
  expect(Resources.MigrateNow?.Type).toBe("Custom::Trigger");
  const sending = Object.entries(Resources).filter(
    ([, { Type, Properties }]) =>
      Type === "AWS::IAM::Policy" && JSON.stringify(Properties).includes("execute-api:ManageConnections"),
  );
  expect(sending.map(([id]) => id.replace(/ServiceRole.*/, "")).sort()).toEqual([
    "Access",
    "Chat",
    "Migrate",
  ]);

  const gateway = {
    name: "chat production",
    apiId: "a1b2c3d4e5",
    endpoint: "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/production",
    stage: "production",
    replies: "route",
  };
  const script = `import { changeAccess, cleanup, migrate } from "./dist/maintenance.mjs";
    await migrate();
    const { changed } = await changeAccess({ kind: "grant", holder: "eve", permission: "chat.use" });
    if (!changed) throw new Error("The permission was not granted.");
    await cleanup();
    process.exit();`;
  const env = { SESSION_SECRET: "secret", SALLYPORT_GATEWAY: JSON.stringify(gateway) };
  await app.runWith(env, process.execPath, "--input-type=module", "-e", script);
  const { checks } = JSON.parse(await app.run("npx", "sallyport", "doctor", "--json"));
  const messages = (checks as { message: string }[]).map(({ message }) => message);
  expect(messages.join("\n")).toContain("chat production (https:");
}
