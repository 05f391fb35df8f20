import type { Gateway } from "../../storage/stores/gateways.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import type { Actual, ActualApi } from "./actual.ts";
import type { DesiredApi } from "./desired.ts";
import type { RunContext } from "./run-context.ts";

/** One change, at AWS or in the database. */
export interface Step {
  readonly action: "create" | "change" | "remove" | "deploy";
  /** The changed resource, such as `route moderate`. */
  readonly what: string;
  /** The details of the change, such as `TimeoutInMillis: 29000 → 1000`. */
  readonly details: readonly string[];
  /**
   * What the step waits for. `known`: every process has read the current record. `settled`: also,
   * the deployment is served everywhere.
   */
  readonly after?: "known" | "settled";
  readonly run: (context: RunContext) => Promise<void>;
}

/** The actual and the desired state of a gateway. */
export interface Comparison {
  readonly definition: GatewayDefinition;
  readonly desired: DesiredApi;
  readonly actual: Omit<Actual, "found">;
  readonly found: ActualApi | undefined;
  /** The record of the gateway in the database. */
  readonly record: Gateway | undefined;
  /** The current time, in epoch milliseconds. */
  readonly now: number;
  /** Hashes of the secrets to accept, newest first. */
  readonly accepted: readonly string[];
}

/**
 * Returns the fields that differ: formatted as `Name: actual → desired`, and as an object of the
 * desired values.
 */
export function differences<Fields extends object>(
  actual: object | undefined,
  desired: Fields,
): { readonly details: readonly string[]; readonly changes: Partial<Fields> } {
  const current = (actual ?? {}) as Readonly<Record<string, unknown>>;
  const other = Object.entries(desired).filter(([name, value]) => !isSame(current[name], value));
  return {
    details: other.map(([name, value]) => `${name}: ${formatField(current[name])} → ${formatField(value)}`),
    changes: Object.fromEntries(other) as Partial<Fields>,
  };
}

/** Compares two values. AWS omits a value that is empty or false. */
function isSame(actual: unknown, desired: unknown): boolean {
  return (actual ?? "") === (desired ?? "") || (actual === undefined && desired === false);
}

/**
 * Returns the names of the entries that differ between two maps, and the map to send.
 *
 * AWS merges the entries of an update and removes those that are empty. Other control planes, such
 * as moto, replace the map. Therefore all desired entries are sent, and an empty one for each entry
 * to remove.
 */
export function entryDifferences(
  actual: Readonly<Record<string, string>> | undefined,
  desired: Readonly<Record<string, string>>,
): { readonly names: readonly string[]; readonly update: Readonly<Record<string, string>> } {
  // A control plane that replaces the map can have stored empty entries.
  const current = Object.fromEntries(Object.entries(actual ?? {}).filter(([, value]) => value !== ""));
  const removed = Object.keys(current).filter((name) => !Object.hasOwn(desired, name));
  const changed = Object.keys(desired).filter((name) => current[name] !== desired[name]);
  const removals = Object.fromEntries(removed.map((name) => [name, ""]));
  return { names: [...changed, ...removed].sort(), update: { ...removals, ...desired } };
}

function formatField(value: unknown): string {
  return value === undefined || value === "" ? "nothing" : withoutQuery(String(value));
}

/** Returns a URL without its query and credentials, which can contain secrets. */
export function withoutQuery(text: string): string {
  return text.replace(/^(https?:\/\/)[^/@?#]*@/, "$1…@").replace(/^(https?:\/\/[^?]*\?).*$/, "$1…");
}
