import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { withSteps } from "./mismatch.ts";
import { DEFAULT_STEPS, runAll, SEED, STEPS } from "./run.ts";
import { ScenarioRunner } from "./scenario-runner.ts";
import { scenarios } from "./scenarios.ts";
import type { Scenario } from "./steps.ts";
import { Tally } from "./tally.ts";

async function run({ design, sample, steps }: Scenario, tally: Tally): Promise<void> {
  const runner = await ScenarioRunner.open(design, sample, tally);
  try {
    for (const step of steps) await runner.step(step);
    await runner.end();
  } catch (error) {
    throw withSteps(error, runner.log);
  } finally {
    await runner.world.close();
  }
}

test("access, deliveries, answers and memberships match the reference model at every step", {
  timeout: 3_600_000,
}, async () => {
  console.log(`property: at least ${STEPS} steps, seed ${SEED}`);
  const tally = new Tally();
  try {
    await runAll(scenarios, STEPS, tally, run);
  } finally {
    console.log(`property: ${tally.summary(SEED)}`);
    if (process.env.PROPERTY_KINDS) console.log(Object.fromEntries([...tally.kinds].sort()));
  }
  if (STEPS >= DEFAULT_STEPS) expect(HAPPENED.filter((kind) => !tally.kinds.has(kind))).toEqual([]);
  if (STEPS >= 100_000) expect(RARE.filter((kind) => !tally.kinds.has(kind))).toEqual([]);
});

/** Outcomes so rare that only a run of 100 000 steps must contain them. */
const RARE = ["change: delete-group, with consequences", "change: set-superuser, with consequences"];

/** Outcomes that a run must contain. Without them, the property would not be tested. */
const HAPPENED = [
  "change: revoke, with consequences",
  "change: remove-from-group, with consequences",
  "change: delete-user, with consequences",
  "change: end-session, with consequences",
  "change: set-active, with consequences",
  "change: recheck, with consequences",
  "change: killed",
  "enforce: with consequences",
  "connect: open",
  "connect: open, not signed in",
  "connect: denied",
  "token: issued",
  "token: session ended",
  "token: denied",
  ...["ruled", "owned", "enter", "move", "say", "tell", "check", "demand"].flatMap((name) => [
    `message: ${name} succeeded`,
    `message: ${name} denied`,
  ]),
  "message: hidden denied",
  "send: sent",
  "send: sent to no recipient",
  "close: closed",
  "lose: lost",
  "denied: revocation",
  "references resolved",
];

test("the reference model imports no code of the library", () => {
  for (const file of ["model.ts", "model-changes.ts"]) {
    const text = readFileSync(join(import.meta.dirname, file), "utf8");
    const imported = [...text.matchAll(/from "([^"]+)"/g)].map(([, from]) => from);
    expect(imported.filter((from) => from !== "./model.ts")).toEqual([]);
  }
});
