import type { Bench } from "./bench.ts";

/** What a check saw, next to what the recorded fact predicts. */
export interface Observation {
  /** The prediction. */
  readonly recorded: string;
  readonly seen: string;
  /** More that is worth to print, such as a time. Default: none. */
  readonly note?: string;
}

/** A check of one fact about AWS. */
export interface Check {
  /** The id of the fact in docs/operations/aws-smoke-test.md. */
  readonly fact: string;
  readonly name: string;
  /** Whether it runs only with `--long`. Default false. */
  readonly isLong?: boolean;
  run(bench: Bench): Promise<Observation>;
}

export type Outcome =
  | { readonly kind: "passed"; readonly note?: string | undefined }
  | { readonly kind: "differs"; readonly recorded: string; readonly seen: string }
  /** The check could not be completed. */
  | { readonly kind: "failed"; readonly error: string };

/** Rejects when the run is interrupted. */
function interruption(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const onAbort = () => reject(new Error("The run was interrupted."));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** Runs a check. It never rejects. */
export async function outcomeOf(check: Check, bench: Bench): Promise<Outcome> {
  try {
    const { recorded, seen, note } = await Promise.race([check.run(bench), interruption(bench.signal)]);
    return recorded === seen ? { kind: "passed", note } : { kind: "differs", recorded, seen };
  } catch (error) {
    return { kind: "failed", error: error instanceof Error ? error.message : String(error) };
  } finally {
    await bench.tidy();
  }
}
