import { databaseAdvice } from "../database-advice.ts";
import { oneLine } from "../terminal.ts";
import { type Check, problem } from "./check.ts";
import { type Finding, failed, listed, ok } from "./finding.ts";

/** The database is reachable and, if its tables exist, accepts writes. */
export const databaseCheck: Check = {
  name: "database",
  async run({ sallyport, inspection, isProduction }) {
    const fix = "Start the database, or correct the option storage and the variables that it reads.";
    let pending: readonly string[];
    try {
      pending = await inspection.pendingMigrations();
    } catch (error) {
      const advice = isProduction ? undefined : databaseAdvice(error);
      return [failed(`The database cannot be reached: ${oneLine(error)}`, advice ?? fix)];
    }
    // The write that health() rolls back or removes needs a table.
    if (pending.length > 0) return [ok("The database can be reached.")];
    const { isHealthy, databaseMs, why = "" } = await sallyport.health();
    if (isHealthy) return [ok(`The database accepts writes (checked in ${databaseMs} ms).`)];
    return [failed(`The database does not accept writes: ${why}`, fix)];
  },
};

/** The tables are those of this version. */
export const migrationsCheck: Check = {
  name: "migrations",
  readsTables: true,
  async run({ inspection }) {
    const pending = await inspection.pendingMigrations();
    if (pending.length === 0) return [ok("The tables are up to date.")];
    return [failed(`The database lacks the migrations ${listed(pending)}.`, "npx sallyport migrate")];
  },
};

/** The database contains the permissions and rules that the code declares. */
export const rulesCheck: Check = {
  name: "rules",
  readsTables: true,
  async run(context) {
    const { missing, rules } = await context.inspection.declarationDifferences();
    const findings: Finding[] = [];
    if (missing.length > 0) {
      const message = `The code declares permissions that are not in the database: ${listed(missing)}.`;
      findings.push(failed(message, "npx sallyport migrate"));
    }
    if (rules.length > 0) {
      findings.push(
        problem(
          context,
          `Rules of the code differ from those that the last migrate stored: ${listed(rules)}.`,
          "npx sallyport permissions diff, then npx sallyport migrate",
        ),
      );
    }
    if (findings.length > 0) return findings;
    return [ok("The database contains every declared permission and rule.")];
  },
};
