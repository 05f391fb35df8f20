import type { Terminal } from "../terminal.ts";
import type { DevLog } from "./dev-log.ts";
import type { FunctionRoutes } from "./function-routes.ts";
import type { Migrated, MigrationOutcome } from "./migration-outcome.ts";

/** Maximum number of changes in one line. */
const MAX_LISTED = 5;

/** What the local gateways of a run serve: views, or the routes of a function. */
export type Served =
  | { readonly kind: "views"; readonly paths: readonly string[] }
  | { readonly kind: "function"; readonly routes: FunctionRoutes };

/** Prints what the migrations of a run changed. */
export class MigrationReport {
  readonly #log: DevLog;
  readonly #terminal: Terminal;
  #served: Served;
  #lastError: string | undefined;

  constructor(log: DevLog, terminal: Terminal, served: Served) {
    this.#log = log;
    this.#terminal = terminal;
    this.#served = served;
  }

  /** Prints an outcome. Prints nothing if nothing changed, or if the error is that of the last one. */
  print(outcome: MigrationOutcome): void {
    if (outcome.kind === "failed") {
      const line = `The database was not updated: ${outcome.error}`;
      if (line !== this.#lastError) this.#terminal.complain(line);
      this.#lastError = line;
      return;
    }
    this.#lastError = undefined;
    const { migrations, added, rules } = outcome;
    const line = describeMigration(outcome);
    if (line) this.#log.print({ type: "migrated", migrations, added, rules }, [line]);
    this.#printNotServed(outcome);
  }

  /** Prints each view and each change of the routes once. */
  #printNotServed({ viewPaths, routes }: Migrated): void {
    if (this.#served.kind === "views") {
      const { paths } = this.#served;
      for (const view of viewPaths.filter((path) => !paths.includes(path)))
        this.#log.print({ type: "view-added", view }, [
          `The view ${view} has no local gateway. Start dev again to connect to it.`,
        ]);
      this.#served = { kind: "views", paths: [...new Set([...paths, ...viewPaths])] };
    } else if (JSON.stringify(routes) !== JSON.stringify(this.#served.routes)) {
      this.#log.print({ type: "routes-changed" }, [
        "The routes of the gateway changed. Start dev again to use them.",
      ]);
      this.#served = { kind: "function", routes };
    }
  }
}

/** Returns what a migration changed on one line, or undefined if it changed nothing. */
export function describeMigration({
  migrations,
  added,
  rules,
}: Pick<Migrated, "migrations" | "added" | "rules">): string | undefined {
  const changes = [
    ...migrations.map((name) => `migration ${name} applied`),
    ...added.map((name) => `permission ${name} added`),
    ...rules.map(
      ({ kind, name, change }) => `${kind === "sending" ? "send rule of" : kind} ${name} ${change}`,
    ),
  ];
  if (changes.length === 0) return undefined;
  const more = changes.length - MAX_LISTED;
  const listed = changes.slice(0, MAX_LISTED).join(", ");
  return `The database was updated: ${listed}${more > 0 ? `, and ${more} more` : ""}.`;
}
