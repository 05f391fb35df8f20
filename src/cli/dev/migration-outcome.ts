import type { MigrationResult } from "../../index.ts";
import type { FunctionRoutes } from "./function-routes.ts";

/** What one run of migrate-runner.ts reports. */
export type MigrationOutcome = Migrated | { readonly kind: "failed"; readonly error: string };

/** The result of a migration, and what the local gateways depend on. */
export interface Migrated extends Pick<MigrationResult, "migrations" | "added" | "rules"> {
  readonly kind: "migrated";
  readonly viewPaths: readonly string[];
  readonly routes: FunctionRoutes;
}

/** Begins the line of an outcome, because `node --watch` and the app print other lines. */
const PREFIX = "sallyport-migration ";

/** Returns the line that the runner prints. */
export function formatOutcome(outcome: MigrationOutcome): string {
  return `${PREFIX}${JSON.stringify(outcome)}\n`;
}

/** Returns the outcome in a line, or undefined for another line. */
export function parseOutcome(line: string): MigrationOutcome | undefined {
  return line.startsWith(PREFIX) ? (JSON.parse(line.slice(PREFIX.length)) as MigrationOutcome) : undefined;
}
