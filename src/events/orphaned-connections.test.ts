import { expect, test } from "vitest";
import type { Outcome } from "../delivery/delivery.ts";
import { Sends } from "../sending/sends.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import { OrphanedConnections } from "./orphaned-connections.ts";

const GATEWAY = { endpoint: "http://127.0.0.1:1/dev" } as Gateway;

test("at most 20 connections are closed at the same time, each once, and a failure is reported", async () => {
  const errors: string[] = [];
  const waiting: ((outcome: Outcome) => void)[] = [];
  const closed: string[] = [];
  const sends = new Sends(1000);
  const orphaned = new OrphanedConnections({
    connections: { isOrphaned: async () => true },
    delivery: {
      close: ({ connectionId }) => {
        closed.push(connectionId);
        return new Promise((resolve) => waiting.push(resolve));
      },
    },
    sends,
    onError: (error, where) => errors.push(`${where}: ${(error as Error).message}`),
  });
  for (let n = 0; n < 30; n++) {
    orphaned.close(GATEWAY, `connection-${n}`, undefined);
    orphaned.close(GATEWAY, `connection-${n}`, undefined);
  }
  await expect.poll(() => closed.length).toBe(20);
  for (const resolve of waiting.splice(0)) resolve({ kind: "failed", reason: "500" });
  await sends.idle();
  expect(errors).toHaveLength(20);
  expect(errors[0]).toBe(
    "closing connection connection-0, which has no row: API Gateway did not close the connection (500). " +
      "The next message of the connection retries the close. Check that this process can reach the gateway.",
  );
  orphaned.close(GATEWAY, "connection-29", undefined);
  await expect.poll(() => closed.at(-1)).toBe("connection-29");
  expect(closed).toHaveLength(21);
});
