import type { Step } from "./plan.ts";
import type { RunContext } from "./run-context.ts";

/** What is to be done, or was, in order. Nothing to do: everything is as it is wanted. */
export interface Plan {
  readonly steps: readonly Pick<Step, "action" | "what" | "details">[];
}

/** What a run was for. */
export type Purpose = "apply" | "destroy" | "release" | "rotate-secret" | "import";

/**
 * Keeps what a run has done, whether or not it came to its end.
 *
 * @param unknown steps that were begun, and of which nobody knows whether they were done
 */
export type Keep = (purpose: Purpose, steps: Plan["steps"], unknown: Plan["steps"]) => Promise<void>;

/** Told of each step before it is made, and of what it waits for before that. */
export type OnStep = (
  step: Omit<Plan["steps"][number], "action"> & { readonly action: Step["action"] | "wait" },
) => void;

const WAITS = {
  known: "every process knows the record",
  settled: "what was deployed is served everywhere",
} as const;

/** The steps of a run, as it makes them. */
export class Run {
  /** Those that were made. */
  readonly steps: Plan["steps"][number][] = [];
  /** Those that were begun, and failed. */
  readonly unknown: Plan["steps"][number][] = [];
  readonly #renew: () => Promise<void>;
  readonly #told: OnStep;

  /** @param renew says before each step that the run is alive; throws where another has taken over */
  constructor(renew: () => Promise<void>, told: OnStep) {
    this.#renew = renew;
    this.#told = told;
  }

  async make(step: Step, hand: RunContext): Promise<void> {
    if (step.after) {
      await hand.until(step.after, () =>
        this.#told({ action: "wait", what: `until ${WAITS[step.after ?? "known"]}`, details: [] }),
      );
    }
    hand.plane.checkGoingOn();
    await this.#renew();
    const shown = shownStep(step);
    this.#told(shown);
    try {
      await step.run(hand);
    } catch (error) {
      this.unknown.push(shown);
      throw error;
    }
    this.steps.push(shown);
  }
}

export function shownStep({ action, what, details }: Step): Plan["steps"][number] {
  return { action, what, details };
}
