import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import type { GatewayStatus, OnStep, Plan, Provisioner } from "../aws.ts";
import { ConfigurationError } from "../errors.ts";
import { loadingFailure } from "../optional-packages.ts";
import { printable } from "../printable.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import { actor, withReason } from "./change.ts";
import { type Format, print, type Report, withJson } from "./report.ts";
import type { Terminal } from "./terminal.ts";

export const NAME = ["[name]", "of the gateway, where the app defines several"] as const;
const NEEDED_NAME = ["<name>", "of the gateway"] as const;

interface ProvisioningFormat extends Format {
  readonly reason?: string;
  readonly yes?: boolean;
}

/** What ends a run after its present step, so that the next one need not wait. */
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** `gateway plan`, `apply`, `destroy`, `release`, `import`, `status`, `rotate-secret`. */
export function addProvisioning(gateway: Command, terminal: Terminal): void {
  const add = (name: string, description: string, argument: readonly [string, string]) =>
    gateway.command(name).description(description).argument(argument[0], argument[1]);

  provisioning(add("plan", "Tell what apply would change at AWS; it changes nothing", NAME), terminal, plan);
  provisioning(
    withReason(add("apply", "Make the gateway at AWS as the app defines it", NAME)),
    terminal,
    (provisioner) => apply(terminal, provisioner),
  );
  for (const [name, ending] of Object.entries(ENDINGS)) {
    provisioning(
      withReason(add(name, ending.description, NEEDED_NAME).option("--yes", "without asking")),
      terminal,
      (provisioner, options, gateway) => end(terminal, provisioner, ending, options, gateway),
    );
  }
  const adopting = withReason(
    add("import", "Make an API that is there already this gateway's; then see plan", NEEDED_NAME).argument(
      "<api-id>",
      "AWS's id of the API, such as a1b2c3d4e5",
    ),
  );
  provisioning(adopting, terminal, (provisioner, _, name) => {
    const apiId = adopting.args[1] ?? "";
    return run(terminal, (told) => provisioner.adopt(apiId, told), `the gateway "${name}"'s`);
  });
  provisioning(
    add("status", "Tell how the gateway stands at AWS; exit code 1 where it is not as it is defined", NAME),
    terminal,
    status,
  );
  provisioning(
    withReason(add("rotate-secret", "Give the gateway another secret, without refusing an event", NAME)),
    terminal,
    (provisioner) => run(terminal, (told) => provisioner.rotateSecret(told), "with another secret"),
  );
}

/** Makes a command that works on a gateway which the app defines. */
function provisioning(
  command: Command,
  terminal: Terminal,
  work: (provisioner: Provisioner, options: ProvisioningFormat, name: string) => Promise<Report>,
): void {
  withJson(command).action(() =>
    withApp(terminal.app(), async (sallyport) => {
      const options = command.opts<ProvisioningFormat>();
      const [name] = command.args;
      const ending = new AbortController();
      const end = () => ending.abort();
      // A second one ends the process at once.
      for (const signal of SIGNALS) process.once(signal, end);
      const provisioner = await provisionerOf(sallyport, name, options.reason, ending.signal);
      try {
        print(terminal, options, await work(provisioner, options, name ?? provisioner.name));
      } finally {
        await provisioner.close();
        for (const signal of SIGNALS) process.off(signal, end);
      }
    }),
  );
}

/** Imports the module, which imports the AWS SDK. */
async function loadProvisioning(): Promise<typeof import("../aws.ts")> {
  try {
    return await import("../aws.ts");
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
    lines: steps.length === 0 ? [`"${provisioner.name}" is as it is defined.`] : shownSteps(steps),
  };
}

/** What was made is told with where it is: what comes next is a record in DNS, and an address for the browser. */
async function apply(terminal: Terminal, provisioner: Provisioner): Promise<Report> {
  const { json, lines } = await run(terminal, (told) => provisioner.apply(told), "as it is defined");
  if ((json as Plan).steps.length === 0) return { json, lines };
  return { json, lines: [...addresses(await provisioner.status()), ...lines] };
}

/** Each step is told on stderr when it begins, since a run takes a while. */
async function run(terminal: Terminal, work: (told: OnStep) => Promise<Plan>, end: string): Promise<Report> {
  const { steps } = await work((step) => {
    for (const line of shownSteps([step])) terminal.complain(printable(line));
  });
  return { json: { steps }, lines: [steps.length === 0 ? `It is ${end} already.` : `It is ${end}.`] };
}

interface Ending {
  readonly description: string;
  readonly plan: (provisioner: Provisioner) => Promise<Plan>;
  readonly run: (provisioner: Provisioner, told: OnStep, agreed: Plan | undefined) => Promise<Plan>;
  /** What whoever is asked should know. */
  readonly warning: string;
  readonly done: string;
}

const ENDINGS: Readonly<Record<string, Ending>> = {
  destroy: {
    description: "Remove the gateway from AWS and from the database",
    plan: (provisioner) => provisioner.planDestruction(),
    run: (provisioner, told, agreed) => provisioner.destroy(told, agreed),
    warning: "This ends every open socket and cannot be undone.",
    done: "gone",
  },
  release: {
    description: "Leave the gateway's API at AWS as it is, and know it no more: the way back from import",
    plan: (provisioner) => provisioner.planRelease(),
    run: (provisioner, told, agreed) => provisioner.release(told, agreed),
    warning: "From then on the app answers no call of its sockets.",
    done: "released",
  },
};

async function end(
  terminal: Terminal,
  provisioner: Provisioner,
  { plan, run: carryOut, warning, done }: Ending,
  options: ProvisioningFormat,
  name: string,
): Promise<Report> {
  const agreed = options.yes ? undefined : await plan(provisioner);
  if (agreed?.steps.length === 0) return { json: agreed, lines: [`There is nothing of "${name}".`] };
  if (agreed) await ask(terminal, agreed, warning, name);
  return run(terminal, (told) => carryOut(provisioner, told, agreed), done);
}

/** @throws ConfigurationError where the answer is not yes, or nobody can give it */
async function ask(terminal: Terminal, { steps }: Plan, warning: string, name: string): Promise<void> {
  for (const line of shownSteps(steps)) terminal.complain(printable(line));
  if (!process.stdin.isTTY) throw new ConfigurationError(`${warning} Nobody is here to be asked: say --yes.`);
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await asking.question(`${warning} Type ${name} to go on: `);
  asking.close();
  if (answer.trim() !== name) throw new ConfigurationError("Nothing was removed.");
}

async function status(provisioner: Provisioner): Promise<Report> {
  const now = await provisioner.status();
  const isAsDefined = now.steps.length === 0 && now.problem === null;
  const lines = [
    ...addresses(now),
    ...now.kept.map((setting) => `kept            ${setting}`),
    ...(isAsDefined ? ["as it is defined"] : []),
    ...(now.problem === null ? [] : [`cannot be applied: ${now.problem}`]),
    ...(now.steps.length > 0 ? ["not as it is defined; apply would:", ...shownSteps(now.steps)] : []),
  ];
  return { json: now, lines, code: isAsDefined ? 0 : 1 };
}

function addresses({ apiId, url, endpoint, deployedAt, secrets, dns }: GatewayStatus): readonly string[] {
  if (apiId === null) return ["There is no API at AWS yet."];
  return [
    `API             ${apiId}`,
    `sockets         ${url}`,
    `Management API  ${endpoint}/@connections`,
    `deployed        ${deployedAt?.toISOString() ?? "never"}`,
    ...(secrets > 1
      ? ["secrets         2 are accepted: a rotation was cut off, or is under way; apply ends it"]
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

function shownSteps(steps: readonly Parameters<OnStep>[0][]): readonly string[] {
  return steps.flatMap(({ action, what, details }) => [
    `${SIGNS[action]} ${action} ${what}`,
    ...details.map((detail) => `    ${detail}`),
  ]);
}
