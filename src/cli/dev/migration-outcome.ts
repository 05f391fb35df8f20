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

/** Begins the line of an outcome, because the app prints other lines. */
const PREFIX = "sallyport-migration ";

/** Returns the line that the runner prints. The app can have printed text without a line break. */
export function formatOutcome(outcome: MigrationOutcome): string {
  return `\n${PREFIX}${JSON.stringify(outcome)}\n`;
}

/** Returns the outcome in a line, or undefined for another line or one that was cut off. */
export function parseOutcome(line: string): MigrationOutcome | undefined {
  if (!line.startsWith(PREFIX)) return undefined;
  try {
    return JSON.parse(line.slice(PREFIX.length)) as MigrationOutcome;
  } catch {
    return undefined;
  }
}
