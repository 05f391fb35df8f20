import { expect, test } from "vitest";
import { told } from "./disagreement.ts";
import { Play } from "./play.ts";
import { Race } from "./race.ts";
import { playAll, SEED, STEPS } from "./run.ts";
import type { Racer, RaceStory, Step } from "./steps.ts";
import { raceStories } from "./stories.ts";
import { Tally } from "./tally.ts";

/** Races come on top of the steps that are taken one after the other. */
const RACING_STEPS = Math.ceil(STEPS / 5);

async function play({ design, waits, steps }: RaceStory, tally: Tally): Promise<void> {
  const story = await Play.open(design, false, tally);
  try {
    for (const step of steps.filter((one): one is Step => "do" in one)) await story.step(step);
    const racers = steps.filter((one): one is Racer => "race" in one);
    await new Race(story.world, waits, tally).run(racers);
  } catch (error) {
    throw told(error, ["after", ...story.told]);
  } finally {
    await story.world.close();
  }
}

test("what has been taken is gone when its call resolves, whatever is under way", {
  timeout: 3_600_000,
}, async () => {
  const tally = new Tally();
  try {
    await playAll(raceStories, RACING_STEPS, tally, play);
  } finally {
    console.log(`property, races: ${tally.summary(SEED)}`);
  }
  expect([tally.forbiddenFrames, tally.forbiddenCalls]).toEqual([0, 0]);
});
