import { expect, test, vi } from "vitest";
import { openClient, startBackend, startGateway } from "../../test/local/rig.ts";
import { Integrations } from "./integration.ts";

test("an internal error of the gateway is reported, and closes neither connection nor process", async () => {
  const errors: string[] = [];
  const onError = (error: unknown, where: string) => errors.push(`${where}: ${error}`);
  const gateway = await startGateway(await startBackend(), { onError });
  const client = await openClient(gateway.url);
  const run = vi.spyOn(Integrations.prototype, "run").mockRejectedValue(new Error("a bug"));
  client.socket.send("{}");
  expect(await client.text()).toMatch(/^\{"message": "Internal server error", "connectionId"/);
  client.socket.close();
  await expect.poll(() => errors).toEqual(["$default: Error: a bug", "$disconnect: Error: a bug"]);
  run.mockRestore();
  await openClient(gateway.url);
});
