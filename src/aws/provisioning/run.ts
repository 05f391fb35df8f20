import type { Step } from "./plan.ts";
import type { RunContext } from "./run-context.ts";

/**
 * The steps of a run in their order: planned, or performed. An empty list means that the gateway
 * matches its definition.
 */
export interface Plan {
  /** Each step: the kind of change, the changed resource, and the details of the change. */
  readonly steps: readonly Pick<Step, "action" | "what" | "details">[];
}

/** The command of a run. */
export type Purpose = "apply" | "destroy" | "release" | "rotate-secret" | "import";

/**
 * Records the steps of a run, including those of a failed run.
 *
 * @param unknown steps that were started and failed, so that their outcome is unknown
 */
export type RecordRun = (purpose: Purpose, steps: Plan["steps"], unknown: Plan["steps"]) => Promise<void>;

/**
 * Called before each step of a run. Called with the action `wait` before a wait, with its reason in
 * `what`.
 */
export type OnStep = (
  step: Omit<Plan["steps"][number], "action"> & { readonly action: Step["action"] | "wait" },
) => void;

const WAIT_REASONS = {
  known: "every process has read the record",
  settled: "the deployment is served everywhere",
} as const;

/** Performs the steps of a run and remembers them. */
export class Run {
  /** Steps that were performed. */
  readonly steps: Plan["steps"][number][] = [];
  /** Steps that were started and failed. */
  readonly unknown: Plan["steps"][number][] = [];
  readonly #renew: () => Promise<void>;
  readonly #onStep: OnStep;

  /** @param renew renews the lease before each step, and throws if another run has taken it over */
  constructor(renew: () => Promise<void>, onStep: OnStep) {
    this.#renew = renew;
    this.#onStep = onStep;
  }

  /** Performs a step, after the wait that it needs. */
  async execute(step: Step, context: RunContext): Promise<void> {
    if (step.after) {
      await context.waitUntil(step.after, () =>
        this.#onStep({ action: "wait", what: `until ${WAIT_REASONS[step.after ?? "known"]}`, details: [] }),
      );
    }
    context.plane.checkGoingOn();
    await this.#renew();
    const summary = stepSummary(step);
    this.#onStep(summary);
    try {
      await step.run(context);
    } catch (error) {
      this.unknown.push(summary);
      throw error;
    }
    this.steps.push(summary);
  }
}

/** Returns the fields of a step that are printed and recorded. */
export function stepSummary({ action, what, details }: Step): Plan["steps"][number] {
  return { action, what, details };
}
