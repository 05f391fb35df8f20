import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AccountWorld, REGION } from "./account-world.ts";
import { selfSigned } from "./certificate.ts";

const tls = selfSigned();

test("x", async () => {
  const world = await AccountWorld.open(tls as never, { probeTimeoutMs: 4000 });
  const run = await world.run(["--region", REGION, "--yes"], (line) => {
    if (!line.startsWith("{")) console.log(new Date().toISOString().slice(14, 23), line.slice(0, 110));
  });
  console.log(run.code, world.resources);
  await world.close();
});
