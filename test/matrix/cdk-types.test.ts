import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { installBeside } from "./installed-beside.ts";

const root = resolve(import.meta.dirname, "../..");

/** An app as `cdk init --language typescript` creates it. */
const APP = `
import * as cdk from "aws-cdk-lib";
import * as lambda from "aws-cdk-lib/aws-lambda";
import type { Construct } from "constructs";
import { defineGateway } from "sallyport/aws";
import { SallyportApi, type SallyportApiProps } from "sallyport/cdk";

export class ChatStack extends cdk.Stack {
  constructor(scope: Construct, id: string, props?: cdk.StackProps) {
    super(scope, id, props);
    const handler = new lambda.Function(this, "Chat", {
      runtime: lambda.Runtime.NODEJS_20_X,
      handler: "index.handler",
      code: lambda.Code.fromInline("exports.handler = async () => ({});"),
    });
    const api = new SallyportApi(this, "Ws", { definition: { name: "chat" }, handler });
    handler.addEnvironment("SALLYPORT_GATEWAY", api.registrationJson);
    api.stage.addPropertyOverride("Description", "The stage");
    const grant: cdk.aws_iam.Grant = api.grantManageConnections(handler);
    grant.assertSuccess();
    const props2: SallyportApiProps = {
      definition: defineGateway({ name: "other", region: "eu-west-1", target: "https://www.example.com/ws/chat" }),
    };
    new SallyportApi(this, "Other", props2);
    // @ts-expect-error: a function is not a string.
    new SallyportApi(this, "Wrong", { definition: { name: "chat" }, handler: "arn:aws:lambda:…" });
  }
}
`;

describe.each(["cdk", "cdk-lowest"])(
  "the types of sallyport/cdk with the packages of test/packages/%s",
  (name) => {
    let packages: string;
    beforeAll(async () => {
      packages = await installBeside(name);
    });

    test("src/cdk compiles with the types of aws-cdk-lib instead of its own declarations", async () => {
      const modules = join(packages, "node_modules");
      const paths = {
        "aws-cdk-lib": [`${modules}/aws-cdk-lib/index.d.ts`],
        "aws-cdk-lib/*": [`${modules}/aws-cdk-lib/*/index.d.ts`],
        constructs: [`${modules}/constructs/lib/index.d.ts`],
      };
      const compiled = await compile(packages, {
        extends: join(root, "tsconfig.base.json"),
        compilerOptions: { composite: false, declaration: false, noEmit: true, paths },
        files: [join(root, "src/cdk/sallyport-api.ts")],
      });
      expect(compiled).toBe("");
    });

    test.each(["module", "commonjs"])('an app with "type": "%s" compiles', async (type) => {
      const compiled = await compile(
        packages,
        {
          compilerOptions: {
            ...{ target: "ES2022", module: "nodenext", moduleResolution: "nodenext", types: ["node"] },
            ...{ lib: ["ES2023"], strict: true, noEmit: true, exactOptionalPropertyTypes: true },
            ...{ skipLibCheck: true },
          },
          files: ["app.ts"],
        },
        { "app.ts": APP, "package.json": JSON.stringify({ private: true, type }) },
      );
      expect(compiled).toBe("");
    });
  },
);

/** Runs the compiler in a new folder below `packages`, and returns what it prints. */
async function compile(
  packages: string,
  tsconfig: object,
  files: Readonly<Record<string, string>> = {},
): Promise<string> {
  const folder = await mkdtemp(join(packages, ".copy-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const [path, text] of Object.entries({ ...files, "tsconfig.json": JSON.stringify(tsconfig) }))
    await writeFile(join(folder, path), text);
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  return promisify(execFile)(process.execPath, [tsc, "-p", folder]).then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }) => `${stdout}${stderr}`,
  );
}
