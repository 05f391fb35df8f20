import type { Account } from "./account.ts";
import { Bench } from "./bench.ts";
import { type Outcome, outcomeOf } from "./check.ts";
import { EnvironmentBuilder } from "./environment.ts";
import type { Options } from "./options.ts";
import { selectedChecks } from "./plan.ts";
import { removeResources } from "./removal.ts";

/**
 * Creates the resources, runs the checks, and removes the resources in all cases.
 *
 * @param log called with each line of the report
 * @returns whether all checks passed and no resource remains
 */
export async function smokeTest(
  account: Account,
  accountId: string,
  options: Options,
  { log, signal }: { readonly log: (line: string) => void; readonly signal: AbortSignal },
): Promise<boolean> {
  const builder = new EnvironmentBuilder(account, accountId, options.runId, signal);
  let hasPassed = false;
  try {
    const environment = await builder.create(log);
    const bench = new Bench(account, environment, signal);
    log(`${environment.url} serves after ${await bench.waitUntilServed()} ms`);
    hasPassed = await runChecks(bench, options, log);
  } catch (error) {
    log(signal.aborted ? "The run was interrupted." : `The run failed: ${describe(error)}`);
  }
  await builder.close().catch((error) => log(`Closing failed: ${describe(error)}`));
  log("Removing what the run created:");
  return (await removeResources(account, options.runId, log)) && hasPassed;
}

async function runChecks(bench: Bench, options: Options, log: (line: string) => void): Promise<boolean> {
  const counts = { passed: 0, differs: 0, failed: 0 };
  for (const check of selectedChecks(options)) {
    bench.signal.throwIfAborted();
    const outcome = await outcomeOf(check, bench);
    bench.signal.throwIfAborted();
    counts[outcome.kind]++;
    for (const line of linesOf(outcome, check.fact, check.name)) log(line);
  }
  const { passed, differs, failed } = counts;
  log(`${passed} passed, ${differs} differ from the recorded fact, ${failed} failed`);
  return differs + failed === 0;
}

function linesOf(outcome: Outcome, fact: string, name: string): readonly string[] {
  switch (outcome.kind) {
    case "passed":
      return [`passed   ${fact}: ${name}`, ...(outcome.note ? [`           ${outcome.note}`] : [])];
    case "differs":
      return [
        `DIFFERS  ${fact}: ${name}`,
        `           recorded: ${outcome.recorded}`,
        `           seen:     ${outcome.seen}`,
      ];
    case "failed":
      return [`FAILED   ${fact}: ${name}`, `           ${outcome.error}`];
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
