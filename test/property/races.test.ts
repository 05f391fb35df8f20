import { expect, test } from "vitest";
import { withSteps } from "./mismatch.ts";
import { Race } from "./race.ts";
import { runAll, SEED, STEPS } from "./run.ts";
import { ScenarioRunner } from "./scenario-runner.ts";
import { raceScenarios } from "./scenarios.ts";
import type { Racer, RaceScenario, Step } from "./steps.ts";
import { Tally } from "./tally.ts";

/** Racing steps run in addition to the sequential steps. */
const RACING_STEPS = Math.ceil(STEPS / 5);

async function run({ design, waits, steps }: RaceScenario, tally: Tally): Promise<void> {
  const runner = await ScenarioRunner.open(design, false, tally);
  try {
    for (const step of steps.filter((one): one is Step => "do" in one)) await runner.step(step);
    const racers = steps.filter((one): one is Racer => "race" in one);
    await new Race(runner.world, waits, tally).run(racers);
  } catch (error) {
    throw withSteps(error, ["after", ...runner.log]);
  } finally {
    await runner.world.close();
  }
}

test("access that was removed has ended when the call resolves, whatever is in flight", {
  timeout: 3_600_000,
}, async () => {
  const tally = new Tally();
  try {
    await runAll(raceScenarios, RACING_STEPS, tally, run);
  } finally {
    console.log(`property, races: ${tally.summary(SEED)}`);
  }
  expect([tally.forbiddenFrames, tally.forbiddenCalls]).toEqual([0, 0]);
});
