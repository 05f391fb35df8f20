import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import type { GatewayStatus, OnStep, Plan, Provisioner } from "../aws/provisioning.ts";
import { ConfigurationError } from "../errors.ts";
import { printable } from "../format-value.ts";
import { INTERNAL } from "../internal.ts";
import { loadingFailure } from "../optional-packages.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import { actor, withReason } from "./change.ts";
import { type Format, print, type Report, withJson } from "./report.ts";
import { quoted, type Terminal } from "./terminal.ts";

export const NAME = ["[name]", "the name of the gateway, if the app defines several"] as const;
const REQUIRED_NAME = ["<name>", "the name of the gateway"] as const;

interface ProvisioningFormat extends Format {
  readonly all?: boolean;
  readonly reason?: string;
  readonly yes?: boolean;
}

/** Signals that stop a run after its current step, so that the lease is released at once. */
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Adds `gateway plan`, `apply`, `destroy`, `release`, `import`, `status` and `rotate-secret`. */
export function addProvisioning(gateway: Command, terminal: Terminal): void {
  const add = (name: string, description: string, argument: readonly [string, string]) =>
    gateway.command(name).description(description).argument(argument[0], argument[1]);

  provisioning(add("plan", "Show what apply would change at AWS, and change nothing", NAME), terminal, plan);
  provisioning(
    withReason(
      add("apply", "Create or update the gateway at AWS as the app defines it", NAME).option(
        "--all",
        "apply each gateway that the app defines",
      ),
    ),
    terminal,
    (provisioner) => apply(terminal, provisioner),
  );
  for (const [name, removal] of Object.entries(REMOVALS)) {
    provisioning(
      withReason(add(name, removal.description, REQUIRED_NAME).option("--yes", "skip the confirmation")),
      terminal,
      (provisioner, options, gateway) => remove(terminal, provisioner, removal, options, gateway),
    );
  }
  const importing = withReason(
    add("import", "Assign an existing API to the gateway, and change only its tags", REQUIRED_NAME).argument(
      "<api-id>",
      "AWS's id of the API, such as a1b2c3d4e5",
    ),
  );
  provisioning(importing, terminal, (provisioner) => {
    const apiId = importing.args[1] ?? "";
    return run(terminal, (onStep) => provisioner.adopt(apiId, onStep), `has the API ${apiId}`);
  });
  provisioning(
    add(
      "status",
      "Show the state of the gateway at AWS (exit code 1 if it differs from the definition)",
      NAME,
    ),
    terminal,
    status,
  );
  provisioning(
    withReason(add("rotate-secret", "Replace the secret of the gateway without rejecting an event", NAME)),
    terminal,
    (provisioner) => run(terminal, (onStep) => provisioner.rotateSecret(onStep), "has another secret"),
  );
}

/** Makes a command work on the provisioner of a gateway, which it closes afterwards. */
function provisioning(
  command: Command,
  terminal: Terminal,
  work: (provisioner: Provisioner, options: ProvisioningFormat, name: string) => Promise<Report>,
): void {
  withJson(command).action(() =>
    withApp(terminal.app(), async (sallyport) => {
      const options = command.opts<ProvisioningFormat>();
      const abort = new AbortController();
      const onSignal = () => abort.abort();
      // A second signal ends the process immediately.
      for (const signal of SIGNALS) process.once(signal, onSignal);
      const run = async (name: string | undefined) => {
        const provisioner = await provisionerOf(sallyport, name, options.reason, abort.signal);
        try {
          return await work(provisioner, options, name ?? provisioner.name);
        } finally {
          await provisioner.close();
        }
      };
      try {
        const [name] = command.args;
        if (options.all) await runAll(terminal, options, namesOf(sallyport, name), run);
        else print(terminal, options, await run(name));
      } finally {
        for (const signal of SIGNALS) process.off(signal, onSignal);
      }
    }),
  );
}

/** @throws ConfigurationError if a name is passed too, or the app defines no gateway */
function namesOf(sallyport: Sallyport, name: string | undefined): readonly (string | undefined)[] {
  if (name !== undefined) {
    throw new ConfigurationError(`Pass the name ${quoted(name)} or --all, but not both.`);
  }
  const names = [...sallyport[INTERNAL].provisioning.definitions.keys()];
  return names.length > 0 ? names : [undefined];
}

/** Runs a command for each gateway, and prints one report. The first error ends it. */
async function runAll(
  terminal: Terminal,
  options: ProvisioningFormat,
  names: readonly (string | undefined)[],
  run: (name: string | undefined) => Promise<Report>,
): Promise<void> {
  const json: unknown[] = [];
  for (const name of names) {
    const report = await run(name);
    json.push({ gateway: name, ...(report.json as object) });
    // The address of a gateway is not lost if a later one fails.
    if (!options.json)
      print(terminal, options, { ...report, lines: [`Gateway "${name}":`, ...report.lines] });
  }
  if (options.json) print(terminal, options, { json, lines: [] });
}

/** Imports the module on demand, because it imports the AWS SDK. */
export async function loadProvisioning(): Promise<typeof import("../aws/provisioning.ts")> {
  try {
    return await import("../aws/provisioning.ts");
  } catch (cause) {
    const name = "@aws-sdk/client-apigatewayv2";
    const needed = { name, neededBy: "Provisioning", install: `npm install --save-dev ${name}` };
    throw new ConfigurationError(loadingFailure(needed, cause), { cause });
  }
}

async function provisionerOf(
  sallyport: Sallyport,
  name: string | undefined,
  reason: string | undefined,
  signal: AbortSignal,
): Promise<Provisioner> {
  const { provisioner } = await loadProvisioning();
  return provisioner(sallyport, name, {
    by: actor(),
    signal,
    ...(reason === undefined ? {} : { reason }),
  });
}

async function plan(provisioner: Provisioner): Promise<Report> {
  const { steps } = await provisioner.plan();
  return {
    json: { steps },
    lines:
      steps.length === 0 ? [`Gateway "${provisioner.name}" matches its definition.`] : formatSteps(steps),
  };
}

/** Applies the definition. The report contains the addresses, which DNS and the browser need. */
async function apply(terminal: Terminal, provisioner: Provisioner): Promise<Report> {
  const { json, lines } = await run(
    terminal,
    (onStep) => provisioner.apply(onStep),
    "matches its definition",
  );
  if ((json as Plan).steps.length === 0) return { json, lines };
  return { json, lines: [...addresses(await provisioner.status()), ...lines] };
}

/**
 * Performs a run, and prints each step on stderr when it begins.
 *
 * @param state the state after the run, which completes "The gateway …"
 */
async function run(
  terminal: Terminal,
  work: (onStep: OnStep) => Promise<Plan>,
  state: string,
): Promise<Report> {
  const { steps } = await work((step) => {
    for (const line of formatSteps([step])) terminal.complain(printable(line));
  });
  const prefix = steps.length === 0 ? "Nothing had to be done. " : "";
  return { json: { steps }, lines: [`${prefix}The gateway ${state}.`] };
}

interface Removal {
  readonly description: string;
  readonly plan: (provisioner: Provisioner) => Promise<Plan>;
  readonly run: (provisioner: Provisioner, onStep: OnStep, confirmed: Plan | undefined) => Promise<Plan>;
  /** The consequence, which is printed before the confirmation. */
  readonly warning: string;
  /** The state afterwards, see {@link run}. */
  readonly state: string;
}

const REMOVALS: Readonly<Record<string, Removal>> = {
  destroy: {
    description: "Remove the gateway from AWS and from the database",
    plan: (provisioner) => provisioner.planDestruction(),
    run: (provisioner, onStep, confirmed) => provisioner.destroy(onStep, confirmed),
    warning: "This closes every open connection and cannot be undone.",
    state: "does not exist any more",
  },
  release: {
    description: "Remove tags and record of the gateway, and keep its API at AWS (reverses import)",
    plan: (provisioner) => provisioner.planRelease(),
    run: (provisioner, onStep, confirmed) => provisioner.release(onStep, confirmed),
    warning: "The app will then deny every call of this gateway.",
    state: "has no record in the database any more",
  },
};

async function remove(
  terminal: Terminal,
  provisioner: Provisioner,
  { plan, run: perform, warning, state }: Removal,
  options: ProvisioningFormat,
  name: string,
): Promise<Report> {
  const confirmed = options.yes ? undefined : await plan(provisioner);
  if (confirmed?.steps.length === 0) {
    return { json: confirmed, lines: [`Gateway "${name}" has nothing to remove.`] };
  }
  if (confirmed) await confirm(terminal, confirmed, warning, name);
  return run(terminal, (onStep) => perform(provisioner, onStep, confirmed), state);
}

/** @throws ConfigurationError if the operator does not confirm, or if there is no terminal */
async function confirm(terminal: Terminal, { steps }: Plan, warning: string, name: string): Promise<void> {
  for (const line of formatSteps(steps)) terminal.complain(printable(line));
  if (!process.stdin.isTTY) {
    throw new ConfigurationError(`${warning} No terminal is available to confirm it. Pass --yes.`);
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await prompt.question(`${warning} Type ${name} to continue: `);
  prompt.close();
  if (answer.trim() !== name) {
    throw new ConfigurationError(
      `The name does not match, so nothing was removed. Run the command again, and type ${name}.`,
    );
  }
}

async function status(provisioner: Provisioner): Promise<Report> {
  const current = await provisioner.status();
  const isAsDefined = current.steps.length === 0 && current.problem === null;
  const lines = [
    ...addresses(current),
    ...current.kept.map((setting) => `kept            ${setting}`),
    ...(isAsDefined ? ["The gateway matches its definition."] : []),
    ...(current.problem === null ? [] : [`The definition cannot be applied: ${current.problem}`]),
    ...(current.steps.length > 0
      ? ["The gateway differs from its definition. apply would:", ...formatSteps(current.steps)]
      : []),
  ];
  return { json: current, lines, code: isAsDefined ? 0 : 1 };
}

function addresses({ apiId, url, endpoint, deployedAt, secrets, dns }: GatewayStatus): readonly string[] {
  if (apiId === null) return ["There is no API at AWS yet."];
  return [
    `API             ${apiId}`,
    `URL             ${url}`,
    `Management API  ${endpoint}/@connections`,
    `deployed        ${deployedAt?.toISOString() ?? "never"}`,
    ...(secrets > 1
      ? ["secrets         2 are accepted, because a rotation is in progress or was interrupted. Run apply."]
      : []),
    ...dns.flatMap(({ name, target, hostedZoneId, status }) => [
      `DNS             ${name} CNAME ${target} (an alias in Route 53: zone ${hostedZoneId})`,
      ...(status === "" || status === "AVAILABLE"
        ? []
        : [`                ${name} is not served yet: ${status}`]),
    ]),
  ];
}

const SIGNS = { create: "+", change: "~", remove: "-", deploy: ">", wait: "…" } as const;

function formatSteps(steps: readonly Parameters<OnStep>[0][]): readonly string[] {
  return steps.flatMap(({ action, what, details }) => [
    `${SIGNS[action]} ${action} ${what}`,
    ...details.map((detail) => `    ${detail}`),
  ]);
}
