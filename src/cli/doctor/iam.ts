import type { Gateway } from "../../index.ts";
import { oneLine } from "../terminal.ts";
import { type Check, type DoctorContext, problem } from "./check.ts";
import { type Finding, failed, ok, skipped, warning } from "./finding.ts";
import { isLocalGateway } from "./hosts.ts";

/** Credentials are found, and allow the calls of the Management API. */
export const iamCheck: Check = {
  name: "iam",
  readsTables: true,
  timeoutMs: 20_000,
  async run(context) {
    const { inspection, definitions } = context;
    if (inspection.settings.apiGateway.client !== undefined) {
      return [skipped("The app sends with its own apiGateway.client, so its credentials are not known.")];
    }
    const remote = (await context.gateways()).filter((gateway) => !isLocalGateway(gateway));
    if (remote.length === 0 && definitions.size === 0) {
      return [skipped("No gateway at AWS is defined or registered. A local gateway needs no credentials.")];
    }
    try {
      await inspection.requireCredentials();
    } catch (error) {
      return [
        problem(
          context,
          `No AWS credentials were found: ${oneLine(error)}`,
          `Run the app with a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. ${policyFix(context)}`,
        ),
      ];
    }
    if (remote.length === 0) {
      return [ok(`AWS credentials were found. No call was made, because no gateway is registered.`)];
    }
    return Promise.all(remote.map((gateway) => callGateway(context, gateway)));
  },
};

/** Returns what the role of the app needs, as a sentence. */
function policyFix(
  { definitions }: Pick<DoctorContext, "definitions">,
  name = [...definitions.keys()][0],
): string {
  return name !== undefined && definitions.has(name)
    ? `Attach the second policy of npx sallyport gateway policy "${name}" to the role of the app.`
    : "Attach a policy that allows execute-api:ManageConnections to the role of the app.";
}

/** Makes the signed call for a connection that does not exist, and explains the response. */
export async function callGateway(
  context: Pick<DoctorContext, "inspection" | "definitions">,
  { name, endpoint }: Pick<Gateway, "name" | "endpoint">,
): Promise<Finding> {
  const result = await context.inspection.callManagementApi(endpoint);
  const isAnswered = result.kind === "ok" || result.kind === "gone";
  // AWS checks the signature and the policy before the format of the id.
  if (isAnswered || /^status 400/.test(result.reason)) {
    return ok(`The credentials of this environment allow calls of the Management API of gateway "${name}".`);
  }
  if (/^status 403/.test(result.reason)) {
    return failed(
      `The Management API of gateway "${name}" (${endpoint}) denies the credentials of this environment: ${result.reason}.`,
      `${policyFix(context, name)} Check the endpoint, too: npx sallyport gateway status.`,
    );
  }
  return warning(
    `The Management API of gateway "${name}" (${endpoint}) could not be called: ${result.reason}.`,
    `Check the network. ${policyFix(context, name)}`,
  );
}
