import fc from "fast-check";
import { withSteps } from "./mismatch.ts";
import { Tally } from "./tally.ts";

/** Enough steps for all but the rarest outcomes. */
export const DEFAULT_STEPS = 30_000;
/**
 * Number of steps of a run, over all worlds. Set `PROPERTY_STEPS` to change it. The long run takes
 * 100 000.
 */
export const STEPS = Number(process.env.PROPERTY_STEPS ?? DEFAULT_STEPS);
/** Each world has the next seed. Run a failed one alone with `PROPERTY_SEED=… PROPERTY_STEPS=1`. */
export const SEED = Number(process.env.PROPERTY_SEED ?? Date.now() % 1_000_000_000);
/**
 * Time limit for shortening a failed scenario, in milliseconds. Set `PROPERTY_SHORTENING_MS=0` to
 * skip it.
 */
const SHORTENING_MS = Number(process.env.PROPERTY_SHORTENING_MS ?? 60_000);

/** A scenario that runs in a world of its own. */
export interface HasSteps<Item> {
  readonly steps: readonly Item[];
}

/**
 * Runs scenarios of one kind until enough steps were run.
 *
 * @param run runs one scenario, counts its steps in the tally, and throws if the library and the
 * model differ
 * @throws Mismatch with the shortest failing scenario that was found, one line for each step
 */
export async function runAll<Item, Scenario extends HasSteps<Item>>(
  scenarios: fc.Arbitrary<Scenario>,
  enough: number,
  tally: Tally,
  run: (scenario: Scenario, tally: Tally) => Promise<void>,
): Promise<void> {
  for (let seed = SEED; tally.steps < enough; seed++) {
    // Without the bias of fast-check towards small values, because a scenario of one user and one
    // permission finds little.
    const [scenario] = fc.sample(fc.noBias(scenarios), { seed, numRuns: 1 });
    if (!scenario) continue;
    try {
      await run(scenario, tally);
    } catch (error) {
      const { shortest, failure } = await shortened(scenario, error, (shorter) => run(shorter, new Tally()));
      const { steps: _steps, ...world } = shortest;
      throw withSteps(failure, [
        `in ${JSON.stringify(world)}`,
        `Run it again with PROPERTY_SEED=${seed} PROPERTY_STEPS=1`,
      ]);
    }
  }
}

/** Removes steps, first many at once and then one by one, as long as the scenario still fails. */
async function shortened<Item, Scenario extends HasSteps<Item>>(
  scenario: Scenario,
  error: unknown,
  run: (scenario: Scenario) => Promise<void>,
): Promise<{ shortest: Scenario; failure: unknown }> {
  const giveUpAt = Date.now() + SHORTENING_MS;
  let [shortest, failure] = [scenario, error];
  for (
    let size = Math.ceil(scenario.steps.length / 2);
    size >= 1;
    size = size > 1 ? Math.ceil(size / 2) : 0
  ) {
    for (let from = 0; from < shortest.steps.length && Date.now() < giveUpAt; ) {
      const steps = shortest.steps.toSpliced(from, size);
      const outcome = await run({ ...shortest, steps }).then(
        () => undefined,
        (thrown: unknown) => ({ thrown }),
      );
      if (outcome) [shortest, failure] = [{ ...shortest, steps }, outcome.thrown];
      else from += size;
    }
  }
  return { shortest, failure };
}
