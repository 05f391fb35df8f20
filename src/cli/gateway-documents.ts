import { type Command, Option } from "commander";
import { cloudFormationTemplate, gatewayPolicies } from "../aws.ts";
import { INTERNAL } from "../internal.ts";
import { NAME } from "./gateway-provisioning.ts";
import { type Format, reporting } from "./report.ts";
import { templateText } from "./template-text.ts";
import type { Terminal } from "./terminal.ts";

interface PolicyFormat extends Format {
  readonly account?: string;
  readonly api?: string;
  readonly former?: readonly string[];
}

/** Adds `gateway policy` and `export`, which print documents and call nothing at AWS. */
export function addGatewayDocuments(gateway: Command, terminal: Terminal): void {
  const policy = gateway
    .command("policy")
    .description("Print the IAM policies for provisioning the gateway and for serving it")
    .argument(...NAME)
    .option(
      "--account <id>",
      "the account, 12 digits (default: the account in an ARN of the gateway, otherwise *)",
    )
    .option(
      "--api <id>",
      "AWS's id of the API, or * for any API (default: the id in the database, or none before the first apply)",
    )
    .option(
      "--former <name>",
      "a domain, or the ARN of a function or access log, that apply will remove (can be repeated)",
      (name: string, previous: readonly string[] = []) => [...previous, name],
    );
  reporting<PolicyFormat>(policy, terminal, async (sallyport, { account, api, former }, [name]) => {
    const definition = sallyport.gatewayDefinition(name);
    const record = await sallyport[INTERNAL].provisioning.gateways.named(definition.name);
    const apiId = api ?? record?.apiId ?? undefined;
    const policies = gatewayPolicies(definition, { account, apiId, former });
    const lines = [
      apiId === undefined
        ? `To provision "${definition.name}" for the first time (print the policy again after the first apply):`
        : `To provision "${definition.name}":`,
      ...pretty(policies.deploy),
      "To serve it:",
      ...pretty(policies.runtime),
    ];
    return { json: policies, lines };
  });
  const template = gateway
    .command("export")
    .description("Print the gateway as a CloudFormation template")
    .argument(...NAME)
    .addOption(
      new Option("--format <name>", "the format of the template")
        .choices(["cloudformation"])
        .default("cloudformation"),
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
