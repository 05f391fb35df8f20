import type { GatewayStatus } from "../../aws/provisioning.ts";
import type { Gateway } from "../../index.ts";
import { waitAtMost } from "../../timing.ts";
import { canConnect } from "../dev/listening.ts";
import { loadProvisioning } from "../gateway-provisioning.ts";
import { oneLine } from "../terminal.ts";
import { type Check, type DoctorContext, problem } from "./check.ts";
import { type Finding, failed, listed, ok, skipped, warning } from "./finding.ts";
import { isLocalGateway } from "./hosts.ts";

/** Maximum duration of a comparison with AWS, in milliseconds. */
const COMPARISON_MS = 15_000;
/** Maximum duration of one call of AWS, in milliseconds. */
const CALL_MS = 5000;
/** The maximum number of steps that a message lists. */
const MAX_STEPS = 3;

/** The gateways that call the app are registered. */
export const gatewaysCheck: Check = {
  name: "gateways",
  readsTables: true,
  async run(context) {
    const { definitions, isProduction } = context;
    const gateways = await context.gateways();
    if (gateways.length === 0) return [noGateway(context)];
    const findings: Finding[] = [...definitions.keys()]
      .filter((name) => !gateways.some((gateway) => gateway.name === name))
      .map((name) =>
        problem(
          context,
          `Gateway "${name}" is defined, but not registered in this database.`,
          `npx sallyport gateway apply "${name}"`,
        ),
      );
    if (isProduction && definitions.size === 0 && gateways.every(isLocalGateway)) {
      findings.push(
        failed(
          "No gateway at AWS is defined or registered, so no client can connect in production.",
          "Define a gateway with defineGateway(), set the variables that the definition reads, and run npx sallyport gateway apply.",
        ),
      );
    }
    findings.push(...viewsWithoutGateway(context, gateways));
    if (!isProduction) findings.push(...(await silentGateways(gateways)));
    for (const { name, secretHashes } of gateways.filter((gateway) => gateway.secretHashes.length > 1)) {
      findings.push(
        warning(
          `Gateway "${name}" accepts ${secretHashes.length} secrets, because a rotation is in progress or was interrupted.`,
          definitions.has(name)
            ? `npx sallyport gateway apply "${name}"`
            : "Register the gateway again with one secret.",
        ),
      );
    }
    const locals = gateways.filter(isLocalGateway).map(({ name, endpoint }) => `${name} (${endpoint})`);
    if (isProduction && locals.length > 0) {
      findings.push(
        warning(
          `The database contains local gateways: ${listed(locals)}. A caller that knows the secret of one is accepted.`,
          "Use a database for production that no sallyport dev and no local gateway uses.",
        ),
      );
    }
    const registered = listed(gateways.map(({ name, endpoint }) => `${name} (${endpoint})`));
    return findings.length > 0 ? findings : [ok(`Registered: ${registered}.`)];
  },
};

/** Reports the local gateways that do not listen, such as those of a `sallyport dev` that has ended. */
async function silentGateways(gateways: readonly Gateway[]): Promise<readonly Finding[]> {
  const findings = gateways.filter(isLocalGateway).map(async ({ name, endpoint }) => {
    if (await canConnect(Number(new URL(endpoint).port))) return [];
    return [skipped(`The local gateway ${name} does not listen at ${endpoint}.`, "Run npm run dev.")];
  });
  return (await Promise.all(findings)).flat();
}

/**
 * Reports in production the views to which no gateway leads. The target of a gateway that the app
 * does not define is not known.
 */
function viewsWithoutGateway(context: DoctorContext, gateways: readonly Gateway[]): readonly Finding[] {
  const { definitions, isProduction } = context;
  const isKnown = gateways.every((gateway) => isLocalGateway(gateway) || definitions.has(gateway.name));
  if (!isProduction || !isKnown) return [];
  return context.unservedViews.map((view) =>
    problem(
      context,
      `No defined gateway leads to the view ${view}, so no client can connect to it.`,
      `Add a gateway whose target ends with ${view}: see docs/guides/local-development.md#add-a-view.`,
    ),
  );
}

function noGateway({ definitions, isProduction }: DoctorContext): Finding {
  const [name] = definitions.keys();
  const create =
    name === undefined
      ? "Define a gateway with defineGateway(), and run npx sallyport gateway apply."
      : `npx sallyport gateway apply "${name}"`;
  return failed(
    "No gateway is registered in this database, so each connect is denied with 403 (reason caller).",
    isProduction ? create : `Locally: npx sallyport dev -- <command of your server>. At AWS: ${create}`,
  );
}

/** Each gateway at AWS matches its definition. */
export const definitionsCheck: Check = {
  name: "definitions",
  readsTables: true,
  timeoutMs: 2 * COMPARISON_MS,
  async run(context, signal) {
    const { definitions } = context;
    const remote = (await context.gateways()).filter((gateway) => !isLocalGateway(gateway));
    const undefinedNames = remote.filter(({ name }) => !definitions.has(name)).map(({ name }) => name);
    const findings: Finding[] = [];
    if (undefinedNames.length > 0) {
      findings.push(
        skipped(
          `Not compared, because the app does not define them: ${listed(undefinedNames)}.`,
          "Define the gateway with defineGateway(), or compare it by hand.",
        ),
      );
    }
    const defined = remote.filter(({ name }) => definitions.has(name));
    findings.push(...(await Promise.all(defined.map((gateway) => compare(context, gateway, signal)))));
    return findings.length > 0
      ? findings
      : [skipped("No gateway at AWS is registered, so nothing was compared.")];
  },
};

/** Compares a gateway at AWS with its definition, as `gateway status` does. */
async function compare(context: DoctorContext, { name }: Gateway, signal: AbortSignal): Promise<Finding> {
  const fix = `npx sallyport gateway status "${name}"`;
  try {
    const status = await statusOf(context, name, signal);
    if (!status) {
      const message = `Gateway "${name}" was not compared with its definition, because AWS did not answer within ${COMPARISON_MS / 1000} s.`;
      return problem(context, message, fix);
    }
    const { steps, problem: why } = status;
    if (why !== null) return failed(`The definition of gateway "${name}" cannot be applied: ${why}`, fix);
    if (steps.length === 0) return ok(`Gateway "${name}" matches its definition.`);
    const changes = steps.slice(0, MAX_STEPS).map(({ action, what }) => `${action} ${what}`);
    const rest = steps.length > MAX_STEPS ? `, and ${steps.length - MAX_STEPS} more` : "";
    return failed(
      `Gateway "${name}" differs from its definition. apply would: ${changes.join(", ")}${rest}.`,
      `npx sallyport gateway plan "${name}", then npx sallyport gateway apply "${name}"`,
    );
  } catch (error) {
    const message = `Gateway "${name}" was not compared with its definition: ${oneLine(error)}`;
    return problem(context, message, fix);
  }
}

/** Returns undefined if AWS does not answer in time. */
async function statusOf(
  { sallyport }: DoctorContext,
  name: string,
  signal: AbortSignal,
): Promise<GatewayStatus | undefined> {
  const { provisioner } = await loadProvisioning();
  const aws = provisioner(sallyport, name, { signal, timeoutMs: CALL_MS });
  try {
    let status: GatewayStatus | undefined;
    await waitAtMost(
      COMPARISON_MS,
      aws.status().then((read) => {
        status = read;
      }),
    );
    return status;
  } finally {
    await aws.close();
  }
}
