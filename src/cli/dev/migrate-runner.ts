/**
 * Migrates the database of an app, and prints the outcome: `node migrate-runner.js [APP]`.
 *
 * `sallyport dev` runs it again when a file of the app changes, and never twice at once.
 */
import { writeSync } from "node:fs";
import { withApp } from "../app.ts";
import { actor } from "../change.ts";
import { oneLine } from "../terminal.ts";
import { functionRoutes } from "./function-routes.ts";
import { formatOutcome, type MigrationOutcome } from "./migration-outcome.ts";

/** Longest time in which the app is loaded and the database is migrated, in milliseconds. */
const TIMEOUT_MS = 30_000;

let hasReported = false;

/** Prints the first outcome. It is written at once, because the process ends afterwards. */
function report(outcome: MigrationOutcome): void {
  if (!hasReported) writeSync(1, formatOutcome(outcome));
  hasReported = true;
}

function fail(error: string): void {
  report({ kind: "failed", error });
}

process.once("exit", (code) =>
  fail(`the app ended its process with exit code ${code}. Run npx sallyport migrate to see its output.`),
);
setTimeout(() => {
  fail(`the migration did not finish within ${TIMEOUT_MS / 1000} s. Run npx sallyport migrate to see why.`);
  process.exit();
}, TIMEOUT_MS).unref();

const [app] = process.argv.slice(2);
try {
  await withApp(app, async (sallyport) => {
    const { migrations, added, rules } = await sallyport.migrate({ by: actor() });
    const { viewPaths } = sallyport;
    report({ kind: "migrated", migrations, added, rules, viewPaths, routes: functionRoutes(sallyport) });
  });
} catch (error) {
  fail(oneLine(error));
}
// The app can have timers and connections of its own, which would keep the process running.
process.exit();
