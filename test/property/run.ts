import fc from "fast-check";
import { told } from "./disagreement.ts";
import { Tally } from "./tally.ts";

/** Enough for all but the rarest kinds of step to happen with each of their outcomes. */
export const DEFAULT_STEPS = 30_000;
/** Steps of a run, over all worlds, unless `PROPERTY_STEPS` names another number. The long run takes 100 000. */
export const STEPS = Number(process.env.PROPERTY_STEPS ?? DEFAULT_STEPS);
/** Each world has the next one, so that one that failed can be played alone: `PROPERTY_SEED=… PROPERTY_STEPS=1`. */
export const SEED = Number(process.env.PROPERTY_SEED ?? Date.now() % 1_000_000_000);
/** How long a story that fails is made shorter, in milliseconds; where nobody reads it, `PROPERTY_SHORTENING_MS=0`. */
const SHORTENING_MS = Number(process.env.PROPERTY_SHORTENING_MS ?? 60_000);

/** Something that is played in a world of its own. */
export interface Told<Item> {
  readonly steps: readonly Item[];
}

/**
 * Plays stories of one kind until enough steps have been taken.
 *
 * @param play plays one, tells each step to the tally, and throws where the core and the oracle disagree
 * @throws Disagreement with the shortest story that was found, one line for each step
 */
export async function playAll<Item, Story extends Told<Item>>(
  stories: fc.Arbitrary<Story>,
  enough: number,
  tally: Tally,
  play: (story: Story, tally: Tally) => Promise<void>,
): Promise<void> {
  for (let seed = SEED; tally.steps < enough; seed++) {
    // Without fast-check's leaning towards small values: a story of one user and one permission tells little.
    const [story] = fc.sample(fc.noBias(stories), { seed, numRuns: 1 });
    if (!story) continue;
    try {
      await play(story, tally);
    } catch (error) {
      const { shortest, failure } = await shortened(story, error, (shorter) => play(shorter, new Tally()));
      const { steps: _steps, ...world } = shortest;
      throw told(failure, [
        `in ${JSON.stringify(world)}`,
        `PROPERTY_SEED=${seed} PROPERTY_STEPS=1 plays it again`,
      ]);
    }
  }
}

/** Leaves out steps, many at once and then one by one, for as long as the story fails without them. */
async function shortened<Item, Story extends Told<Item>>(
  story: Story,
  error: unknown,
  play: (story: Story) => Promise<void>,
): Promise<{ shortest: Story; failure: unknown }> {
  const giveUpAt = Date.now() + SHORTENING_MS;
  let [shortest, failure] = [story, error];
  for (let size = Math.ceil(story.steps.length / 2); size >= 1; size = size > 1 ? Math.ceil(size / 2) : 0) {
    for (let from = 0; from < shortest.steps.length && Date.now() < giveUpAt; ) {
      const steps = shortest.steps.toSpliced(from, size);
      const outcome = await play({ ...shortest, steps }).then(
        () => undefined,
        (thrown: unknown) => ({ thrown }),
      );
      if (outcome) [shortest, failure] = [{ ...shortest, steps }, outcome.thrown];
      else from += size;
    }
  }
  return { shortest, failure };
}
