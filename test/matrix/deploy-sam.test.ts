import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { cloudFormationTemplate, defineGateway, gatewayPolicies } from "../../src/aws.ts";
import { installPackages } from "../packages/install.ts";
import { hasCfnLint, lintTemplate } from "./cfn-lint.ts";
import { EXAMPLES } from "./deploy-examples.ts";
import { importFrom, type Untyped } from "./installed-beside.ts";

const FILE = join(EXAMPLES, "sam/template.yaml");
const LAMBDA = "arn:aws:lambda:eu-west-1:123456789012:function:chat";

let template: Untyped;
beforeAll(async () => {
  const { parse } = await importFrom(await installPackages("deploy"), "yaml");
  const customTags = ["Ref", "Sub", "GetAtt"].map((name) => ({
    tag: `!${name}`,
    resolve: (text: string) => ({
      [name === "Ref" ? "Ref" : `Fn::${name}`]: name === "GetAtt" ? text.split(".") : text,
    }),
  }));
  const text = readFileSync(FILE, "utf8")
    .replaceAll(`\${AWS::Partition}`, "aws")
    .replaceAll(`\${AWS::Region}`, "eu-west-1");
  template = parse(text, { customTags });
});

const definition = defineGateway({
  name: "chat production",
  region: "eu-west-1",
  target: { lambda: LAMBDA },
});

test("the SAM template has the resources of the gateway that gateway export prints", () => {
  const { Resources } = cloudFormationTemplate(definition);
  const replaced = JSON.stringify(
    Object.fromEntries(Object.keys(Resources).map((id) => [id, template.Resources[id]])),
  )
    .replaceAll('{"Fn::GetAtt":["ChatFunction","Arn"]}', JSON.stringify(LAMBDA))
    .replaceAll(/\{"Fn::Sub":("[^"]*\$\{ChatFunction\.Arn\}[^"]*")\}/g, "$1")
    .replaceAll(`\${ChatFunction.Arn}`, LAMBDA);
  expect(JSON.parse(replaced)).toEqual(Resources);
  const others = Object.entries<Untyped>(template.Resources).filter(([id]) => !(id in Resources));
  expect(new Set(others.map(([, { Type }]) => Type))).toEqual(new Set(["AWS::Serverless::Function"]));
});

test("the function of the SAM template can call the Management API, and a schedule invokes it", () => {
  const { Policies, Events } = template.Resources.ChatFunction.Properties;
  const { Resource, Action } = Policies[0].Statement[0];
  const { runtime } = gatewayPolicies(definition, { apiId: "a1b2c3", account: "123456789012" });
  const arns = Resource.map((arn: Untyped) =>
    arn["Fn::Sub"].replace(`\${Api}`, "a1b2c3").replace(`\${AWS::AccountId}`, "123456789012"),
  );
  expect([[Action], arns]).toEqual([runtime.Statement[0]?.Action, runtime.Statement[0]?.Resource]);
  expect(Events.EachMinute).toEqual({ Type: "Schedule", Properties: { Schedule: "rate(1 minute)" } });
});

test("the handlers of the SAM template are bundled by npm run bundle", () => {
  const { bundle } = JSON.parse(readFileSync(join(EXAMPLES, "package.json"), "utf8")).scripts;
  for (const { Type, Properties } of Object.values<Untyped>(template.Resources)) {
    if (Type !== "AWS::Serverless::Function") continue;
    const file = `app/${Properties.Handler.replace(/\.handler$/, "")}.ts`;
    expect(bundle).toContain(file);
    expect(existsSync(join(EXAMPLES, file)), file).toBe(true);
  }
  const registration = template.Resources.MigrateFunction.Properties.Environment.Variables.SALLYPORT_GATEWAY;
  expect(JSON.parse(registration["Fn::Sub"])).toMatchObject({
    name: definition.name,
    stage: definition.stage,
  });
});

test.skipIf(!hasCfnLint)("cfn-lint finds nothing in the SAM template (skipped without cfn-lint)", () => {
  expect(lintTemplate(FILE)).toBe("");
});
