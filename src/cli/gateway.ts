import type { Command } from "commander";
import { addGatewayDocuments } from "./gateway-documents.ts";
import { addProvisioning } from "./gateway-provisioning.ts";
import type { Terminal } from "./terminal.ts";

/** Adds `gateway`: the commands for gateways at AWS. */
export function addGateway(program: Command, terminal: Terminal): void {
  const gateway = program.command("gateway").description("Provision gateways at AWS");
  addProvisioning(gateway, terminal);
  addGatewayDocuments(gateway, terminal);
}
