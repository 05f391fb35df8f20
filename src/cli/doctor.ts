import { type Command, InvalidArgumentError } from "commander";
import { INTERNAL } from "../internal.ts";
import type { Sallyport } from "../sallyport.ts";
import { waitAtMost } from "../timing.ts";
import { withApp } from "./app.ts";
import { type Check, CheckRun, type DoctorContext } from "./doctor/check.ts";
import { cleanUpCheck } from "./doctor/clean-up.ts";
import { databaseCheck, migrationsCheck, rulesCheck } from "./doctor/database.ts";
import { dnsCheck } from "./doctor/dns.ts";
import { reportLines } from "./doctor/doctor-lines.ts";
import { checkNode } from "./doctor/environment.ts";
import { failed, ok, warning } from "./doctor/finding.ts";
import { definitionsCheck, gatewaysCheck } from "./doctor/gateways.ts";
import { hostsCheck } from "./doctor/hosts.ts";
import { iamCheck } from "./doctor/iam.ts";
import { originsCheck } from "./doctor/origins.ts";
import { defaultPage, pageCheck } from "./doctor/page.ts";
import { productionChecks } from "./doctor/production.ts";
import { tokensCheck } from "./doctor/tokens.ts";
import { type Format, withJson } from "./report.ts";
import { oneLine, quoted, type Terminal } from "./terminal.ts";

/** Maximum time in which the app must load, in milliseconds. */
const LOAD_MS = 30_000;
/** How long work of the app can continue after a check was abandoned, in milliseconds. */
const GRACE_MS = 1000;

/** The checks of an app, in their order. The database comes before the checks that read tables. */
const CHECKS: readonly Check[] = [
  databaseCheck,
  migrationsCheck,
  rulesCheck,
  tokensCheck,
  pageCheck,
  originsCheck,
  hostsCheck,
  gatewaysCheck,
  definitionsCheck,
  dnsCheck,
  iamCheck,
  cleanUpCheck,
];

interface DoctorOptions extends Format {
  readonly page?: URL;
  readonly production?: boolean;
}

/** Adds `doctor`, which checks the setup of an app and changes nothing. */
export function addDoctor(program: Command, terminal: Terminal): void {
  const doctor = program
    .command("doctor")
    .description(
      "Check the setup of the app, and print a fix for each problem (exit code 1 if a check fails)",
    )
    .option(
      "--page <url>",
      "the URL of the page that connects (default: http://localhost:PORT, but none with --production)",
      pageUrl,
    )
    .option("--production", "check what production needs, with the production checklist");
  withJson(doctor).action((options: DoctorOptions) => runDoctor(terminal, options));
}

async function runDoctor(terminal: Terminal, options: DoctorOptions): Promise<void> {
  const checks = [...CHECKS, ...(options.production ? productionChecks : [])];
  const run = new CheckRun();
  run.add("node", [checkNode()]);
  await checkApp(terminal.app(), run, checks, options);
  printReport(terminal, options, run);
  // A check that was abandoned may keep the process running.
  if (run.hasTimedOut) setTimeout(() => process.exit(), GRACE_MS).unref();
}

/** Loads the app and runs its checks. Without the app, they are skipped. */
async function checkApp(
  app: string | undefined,
  run: CheckRun,
  checks: readonly Check[],
  options: DoctorOptions,
): Promise<void> {
  const loading = new Loading();
  const running = withApp(app, async (sallyport) => {
    if (!loading.finish()) return;
    run.add("app", [ok(`The app is loaded. Views: ${sallyport.viewPaths.join(", ")}.`)]);
    await run.run(checks, contextOf(sallyport, options));
  });
  try {
    await waitAtMost(LOAD_MS, Promise.race([loading.finished, running]));
    run.hasTimedOut = !loading.isFinished;
    if (loading.isFinished) await running;
    else reportUnloaded(run, checks, `it did not load within ${LOAD_MS / 1000} s.`);
  } catch (error) {
    if (loading.isFinished) {
      run.add("app", [warning(`The app could not be closed: ${oneLine(error)}`, "Correct the cause.")]);
    } else reportUnloaded(run, checks, oneLine(error));
  } finally {
    loading.abandon();
  }
}

function reportUnloaded(run: CheckRun, checks: readonly Check[], why: string): void {
  run.add("app", [
    failed(
      `The app could not be loaded: ${why}`,
      "Correct the module, and set the environment variables that it needs. --app <file> names another module.",
    ),
  ]);
  run.skip(checks, "The app could not be loaded.");
}

/** Whether the app has loaded. After {@link Loading.abandon}, its checks must not start any more. */
class Loading {
  #state: "loading" | "finished" | "abandoned" = "loading";
  #resolve = (): void => undefined;
  readonly finished = new Promise<void>((resolve) => {
    this.#resolve = resolve;
  });

  get isFinished(): boolean {
    return this.#state === "finished";
  }

  /** @returns false if loading was abandoned */
  finish(): boolean {
    if (this.#state !== "loading") return false;
    this.#state = "finished";
    this.#resolve();
    return true;
  }

  abandon(): void {
    if (this.#state === "loading") this.#state = "abandoned";
  }
}

function contextOf(sallyport: Sallyport, { page, production }: DoctorOptions): DoctorContext {
  const { inspection, provisioning } = sallyport[INTERNAL];
  return {
    sallyport,
    inspection,
    page: page ?? (production ? undefined : developmentPage()),
    isDefaultPage: page === undefined && production !== true,
    isProduction: production === true,
    definitions: provisioning.definitions,
    unservedViews: provisioning.unservedViews,
    gateways: () => provisioning.gateways.list(),
  };
}

/** Returns the page of `sallyport dev`, or undefined if PORT is invalid. The check `page` reports it. */
function developmentPage(): URL | undefined {
  try {
    return defaultPage();
  } catch {
    return undefined;
  }
}

function printReport(terminal: Terminal, { json }: DoctorOptions, { results }: CheckRun): void {
  const isOk = results.every(({ status }) => status !== "failed");
  if (json) terminal.print(JSON.stringify({ ok: isOk, checks: results }));
  else for (const { text, color } of reportLines(results)) terminal.print(text, color);
  terminal.end(isOk ? 0 : 1);
}

function pageUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new InvalidArgumentError(`Write a URL such as http://localhost:3000, not ${quoted(text)}.`);
}
