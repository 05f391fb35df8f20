import { type Command, Option } from "commander";
import { cloudFormationTemplate, gatewayPolicies } from "../index.ts";
import { NAME } from "./gateway-provisioning.ts";
import { type Format, reporting } from "./report.ts";
import { templateText } from "./template-text.ts";
import type { Terminal } from "./terminal.ts";

interface PolicyFormat extends Format {
  readonly account?: string;
  readonly api?: string;
  readonly former?: readonly string[];
}

/** `gateway policy` and `export`: they only write down what is defined. */
export function addGatewayDocuments(gateway: Command, terminal: Terminal): void {
  const policy = gateway
    .command("policy")
    .description("Print two policies of IAM: the least that provisioning needs, and the app that serves")
    .argument(...NAME)
    .option(
      "--account <id>",
      "the account's 12 digits; default: that of an ARN which the gateway names, else *",
    )
    .option(
      "--api <id>",
      "AWS's id of the API, or * for any; default: as the database says, else what the first apply needs",
    )
    .option(
      "--former <name>",
      "a domain, or the ARN of a function or access log, that apply is to take away; once for each",
      (name: string, before: readonly string[] = []) => [...before, name],
    );
  reporting<PolicyFormat>(policy, terminal, async (sallyport, { account, api, former }, [name]) => {
    const definition = sallyport.gatewayDefinition(name);
    const record = await sallyport.provisioning.gateways.named(definition.name);
    const apiId = api ?? record?.apiId ?? undefined;
    const policies = gatewayPolicies(definition, { account, apiId, former });
    const lines = [
      apiId === undefined
        ? `To provision "${definition.name}" for the first time; then print it again, for that API alone:`
        : `To provision "${definition.name}":`,
      ...pretty(policies.deploy),
      "To serve it:",
      ...pretty(policies.runtime),
    ];
    return { json: policies, lines };
  });
  const template = gateway
    .command("export")
    .description("Print the gateway as a template, for teams that deploy by one")
    .argument(...NAME)
    .addOption(
      new Option("--format <name>", "of the template").choices(["cloudformation"]).default("cloudformation"),
    );
  reporting(template, terminal, async (sallyport, _, [name]) => {
    const json = cloudFormationTemplate(sallyport.gatewayDefinition(name));
    const { lines, notes } = templateText(json);
    for (const note of notes) terminal.complain(note);
    return { json, lines };
  });
}

function pretty(document: object): readonly string[] {
  return JSON.stringify(document, null, 2).split("\n");
}
