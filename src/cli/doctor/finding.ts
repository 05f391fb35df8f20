/** The status of a finding. `check by hand`: only a person can check it. */
export type FindingStatus = "ok" | "warning" | "failed" | "skipped" | "check by hand";

/** What a check found. */
export interface Finding {
  readonly status: FindingStatus;
  /** What was found, with the value, in full sentences. */
  readonly message: string;
  /** What to do: a command or an option. */
  readonly fix?: string;
}

export function ok(message: string): Finding {
  return { status: "ok", message };
}

export function skipped(message: string, fix?: string): Finding {
  return { status: "skipped", message, ...(fix === undefined ? {} : { fix }) };
}

export function warning(message: string, fix: string): Finding {
  return { status: "warning", message, fix };
}

export function failed(message: string, fix: string): Finding {
  return { status: "failed", message, fix };
}

export function byHand(message: string, fix: string): Finding {
  return { status: "check by hand", message, fix };
}

/** The maximum number of names that a message lists. */
const MAX_NAMES = 8;

/** Lists names, such as `a, b and 3 more`. */
export function listed(names: readonly string[]): string {
  const rest = names.length - MAX_NAMES;
  return rest > 0 ? `${names.slice(0, MAX_NAMES).join(", ")} and ${rest} more` : names.join(", ");
}
