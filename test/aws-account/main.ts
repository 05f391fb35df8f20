/**
 * `npm run test:aws -- --region eu-west-1 --yes`: checks against a real AWS account what Sallyport
 * assumes about AWS. See docs/operations/aws-smoke-test.md.
 */
import { Account } from "./account.ts";
import { type Options, parseOptions, UsageError } from "./options.ts";
import { describeRun } from "./plan.ts";
import { removeResources } from "./removal.ts";
import { smokeTest } from "./smoke-test.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function log(line: string): void {
  console.log(line);
}

/** Returns whether the run succeeded. */
async function run(account: Account, options: Options, signal: AbortSignal): Promise<boolean> {
  const { account: accountId, arn } = await account.caller();
  if (options.isRemoval) {
    log(`account ${accountId}, region ${options.region}`);
    return removeResources(account, options.removalRun, log);
  }
  for (const line of describeRun(options, accountId, arn)) log(line);
  log("");
  if (!options.isConfirmed) {
    log("Nothing was created. Add --yes to create these resources and run the checks.");
    return false;
  }
  log(`The id of this run is ${options.runId}.`);
  return smokeTest(account, accountId, options, { log, signal });
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  const abort = new AbortController();
  // Further signals are ignored, because a terminal and npm can both send one for Ctrl+C.
  for (const signal of SIGNALS) process.on(signal, () => abort.abort());
  const account = new Account(options.region);
  try {
    if (!(await run(account, options, abort.signal))) process.exitCode = 1;
  } finally {
    account.close();
  }
}

try {
  await main();
} catch (error) {
  console.error(
    error instanceof UsageError
      ? error.message
      : `test:aws: ${error instanceof Error ? error.message : error}`,
  );
  process.exitCode = 1;
}
// A socket of a failed check does not keep the process running.
process.exit();
