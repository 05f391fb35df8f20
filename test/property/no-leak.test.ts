import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { told } from "./disagreement.ts";
import { Play } from "./play.ts";
import { DEFAULT_STEPS, playAll, SEED, STEPS } from "./run.ts";
import type { Story } from "./steps.ts";
import { stories } from "./stories.ts";
import { Tally } from "./tally.ts";

async function play({ design, sample, steps }: Story, tally: Tally): Promise<void> {
  const story = await Play.open(design, sample, tally);
  try {
    for (const step of steps) await story.step(step);
    await story.end();
  } catch (error) {
    throw told(error, story.told);
  } finally {
    await story.world.close();
  }
}

test("nobody is let in, answered, told or kept against the oracle's word", {
  timeout: 3_600_000,
}, async () => {
  console.log(`property: at least ${STEPS} steps, seed ${SEED}`);
  const tally = new Tally();
  try {
    await playAll(stories, STEPS, tally, play);
  } finally {
    console.log(`property: ${tally.summary(SEED)}`);
    if (process.env.PROPERTY_KINDS) console.log(Object.fromEntries([...tally.kinds].sort()));
  }
  if (STEPS >= DEFAULT_STEPS) expect(HAPPENED.filter((kind) => !tally.kinds.has(kind))).toEqual([]);
  if (STEPS >= 100_000) expect(RARE.filter((kind) => !tally.kinds.has(kind))).toEqual([]);
});

/** What happens so rarely that only a long run must have come across it. */
const RARE = ["change: delete-group, with consequences", "change: set-superuser, with consequences"];

/** What a run must have come across: a property of things that never happen is none. */
const HAPPENED = [
  "change: revoke, with consequences",
  "change: remove-from-group, with consequences",
  "change: delete-user, with consequences",
  "change: end-session, with consequences",
  "change: set-active, with consequences",
  "change: recheck, with consequences",
  "change: died",
  "enforce: with consequences",
  "connect: open",
  "connect: open, not signed in",
  "connect: denied",
  "token: issued",
  "token: session ended",
  "token: denied",
  ...["ruled", "owned", "enter", "move", "say", "tell", "check", "demand"].flatMap((name) => [
    `message: ${name} answered`,
    `message: ${name} refused`,
  ]),
  "message: hidden refused",
  "send: sent",
  "send: sent to nobody",
  "close: closed",
  "vanish: vanished",
  "refused: revocation",
  "references followed",
];

test("the oracle shares no code with what it judges", () => {
  for (const file of ["oracle.ts", "facts.ts"]) {
    const text = readFileSync(join(import.meta.dirname, file), "utf8");
    const imported = [...text.matchAll(/from "([^"]+)"/g)].map(([, from]) => from);
    expect(imported.filter((from) => from !== "./oracle.ts")).toEqual([]);
  }
});
