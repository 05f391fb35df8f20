import type { Gateway, GatewayDefinition } from "../../index.ts";
import type { INTERNAL } from "../../internal.ts";
import type { Sallyport } from "../../sallyport.ts";
import { waitAtMost } from "../../timing.ts";
import { oneLine } from "../terminal.ts";
import { type Finding, failed, skipped, warning } from "./finding.ts";

/** What the checks of an app examine. */
export interface DoctorContext {
  readonly sallyport: Sallyport;
  readonly inspection: Sallyport[typeof INTERNAL]["inspection"];
  /** URL of the page that connects. Undefined without `--page` in production. */
  readonly page: URL | undefined;
  /** Whether the page is that of `sallyport dev`, because `--page` is not set. */
  readonly isDefaultPage: boolean;
  /** Whether `--production` is set. */
  readonly isProduction: boolean;
  /** The gateways that the app defines, by name. */
  readonly definitions: ReadonlyMap<string, GatewayDefinition>;
  /** Paths of the views to which no defined gateway leads. */
  readonly unservedViews: readonly string[];
  /** Reads the registered gateways. */
  gateways(): Promise<readonly Gateway[]>;
}

/** A check of an app. */
export interface Check {
  readonly name: string;
  /** Whether it reads the tables. It is then skipped if the database or its tables are missing. */
  readonly readsTables?: boolean;
  /** Maximum duration in milliseconds. Default 10 000. */
  readonly timeoutMs?: number;
  /** @param signal is aborted after `timeoutMs` */
  run(context: DoctorContext, signal: AbortSignal): Promise<readonly Finding[]>;
}

/** A finding with the name of its check. */
export interface CheckResult extends Finding {
  readonly check: string;
}

const TIMEOUT_MS = 10_000;

/** Runs checks one after the other, and stops none of them at the failure of another. */
export class CheckRun {
  readonly results: CheckResult[] = [];
  /** Whether a check did not finish in time. Its work can still run. */
  hasTimedOut = false;

  add(check: string, findings: readonly Finding[]): void {
    for (const finding of findings) this.results.push({ check, ...finding });
  }

  /** Adds each check as skipped. */
  skip(checks: readonly Check[], reason: string): void {
    for (const { name } of checks) this.add(name, [skipped(reason)]);
  }

  async run(checks: readonly Check[], context: DoctorContext): Promise<void> {
    for (const check of checks) {
      const blocked = check.readsTables ? this.#blocked() : undefined;
      if (blocked === undefined) this.add(check.name, await this.#findingsOf(check, context));
      else this.add(check.name, [skipped(`The check "${blocked}" failed, and this one needs the tables.`)]);
    }
  }

  /** Returns the name of the failed check that makes the tables unusable, or undefined. */
  #blocked(): string | undefined {
    return this.results.find(({ check, status }) => TABLE_CHECKS.has(check) && status === "failed")?.check;
  }

  async #findingsOf(check: Check, context: DoctorContext): Promise<readonly Finding[]> {
    const { timeoutMs = TIMEOUT_MS } = check;
    const ending = new AbortController();
    let findings: readonly Finding[] | undefined;
    try {
      const work = check.run(context, ending.signal).then((found) => {
        findings = found;
      });
      await waitAtMost(timeoutMs, work);
    } catch (error) {
      return [failed(oneLine(error), "Correct the cause, and run the command again.")];
    } finally {
      ending.abort();
    }
    if (findings) return findings;
    this.hasTimedOut = true;
    return [
      failed(
        `The check did not finish within ${timeoutMs / 1000} s.`,
        "Check the network and the database, and run the command again.",
      ),
    ];
  }
}

/** The checks whose failure makes the tables unusable. */
const TABLE_CHECKS: ReadonlySet<string> = new Set(["database", "migrations"]);

/** Returns a finding that fails in production, and is a warning otherwise. */
export function problem({ isProduction }: DoctorContext, message: string, fix: string): Finding {
  return isProduction ? failed(message, fix) : warning(message, fix);
}
