import { expect } from "vitest";
import type { LocalGateway } from "../../src/local/emulator.ts";
import type { RunningApp } from "./running-app.ts";

/** What the app reported so far. */
export interface Seen {
  readonly errors: readonly { readonly name: string; readonly message: string }[];
  readonly rejections: readonly object[];
}

/**
 * Two users connect, one sends to both, and a revocation closes a connection. The events are HTTP
 * requests or Lambda events.
 */
export async function expectConversation(app: RunningApp, gateway: LocalGateway): Promise<void> {
  for (const user of ["ann", "bob"]) await app.control("grant", { user });
  const [ann, bob] = [await app.connect(gateway, "ann"), await app.connect(gateway, "bob")];
  expect(await ann.result("say", { text: "grüß dich" })).toEqual({ sent: 2, failures: {} });
  for (const socket of [ann, bob]) {
    expect(await socket.next((frame) => frame.type === "said")).toMatchObject({ text: "grüß dich" });
  }
  expect(await ann.call("forbidden")).toMatchObject({ ok: false });
  expect(await ann.call("unknown")).toMatchObject({ ok: false });
  expect(await app.control("revoke", { user: "bob" })).toBe(true);
  await bob.closed;
  expect(bob.received.at(-1)).toMatchObject({ type: "sallyport.revoked", scope: "view" });
  expect(ann.isClosed).toBe(false);
  await expect(app.connect(gateway, "bob")).rejects.toThrow(/403/);
  ann.terminate();
  const { errors, rejections } = await app.control<Seen>("seen");
  expect(errors).toEqual([]);
  // Names that an operator reads do not depend on class names.
  expect(rejections).toContainEqual({ reason: "app", view: "/ws/chat", handler: "forbidden" });
}
