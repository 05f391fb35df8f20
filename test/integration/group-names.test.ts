import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AccessChange } from "../../src/admin/change.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { revoked, World } from "./world.ts";

/** The same name in its composed (NFC) and its decomposed (NFD) form. */
const [NFC, NFD] = ["Caf\u00e9", "Cafe\u0301"];

let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": ChatView } });
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

describe("a group with several Unicode forms of its name", () => {
  test("is the same group in every change and in the audit", async () => {
    const { access } = world.sallyport;
    expect(await access.groups.create(NFD)).toBe(true);
    expect(await access.groups.create(NFC)).toBe(false);
    expect(await access.grant({ group: NFD }, chat.can_use_chat)).toBe(true);
    expect(await access.grant({ group: NFC }, chat.can_use_chat)).toBe(false);
    expect(await access.users.addToGroup("ann", NFD)).toBe(true);
    expect(await access.users.addToGroup("ann", NFC)).toBe(false);
    expect((await access.groups.list()).map(({ name, members }) => [name, members])).toEqual([[NFC, 1]]);
    expect(await access.users.get("ann")).toMatchObject({
      groups: [{ name: NFC }],
      grants: [{ via: { group: NFC } }],
    });

    expect(await access.revoke({ group: NFD }, chat.can_use_chat)).toBe(true);
    expect(await access.users.removeFromGroup("ann", NFD)).toBe(true);
    expect(await access.groups.delete(NFD)).toBe(true);
    expect(await access.groups.list()).toEqual([]);
    for (const group of [NFC, NFD]) {
      const entries = await access.audit.list({ group });
      expect(entries.map(({ action, group: name }) => [action, name])).toEqual([
        ["delete-group", NFC],
        ["remove-from-group", NFC],
        ["revoke", NFC],
        ["add-to-group", NFC],
        ["grant", NFC],
        ["create-group", NFC],
      ]);
    }
  });

  test("is the same group in a filter of users", async () => {
    const { access } = world.sallyport;
    await access.users.addToGroup("ann", NFC);
    await access.users.addToGroup("bob", "other");
    for (const group of [NFC, NFD]) {
      expect((await access.users.list({ group })).map(({ id }) => id)).toEqual(["ann"]);
    }
  });

  test("closes the connections of its members when a change names its other form", async () => {
    const { access } = world.sallyport;
    await access.grant({ group: NFC }, chat.can_use_chat);
    await access.users.addToGroup("ann", NFC);
    for (const end of [
      () => access.revoke({ group: NFD }, chat.can_use_chat),
      () => access.groups.delete(NFD),
    ]) {
      await access.grant({ group: NFC }, chat.can_use_chat);
      await access.users.addToGroup("ann", NFC);
      const ann = await world.connect("ann");
      await end();
      await ann.closed;
      expect(ann.received).toEqual([revoked()]);
    }
  });

  test("is the same group in a preview", async () => {
    const { access } = world.sallyport;
    await access.grant({ group: NFC }, chat.can_use_chat);
    await access.users.addToGroup("ann", NFC);
    await world.connect("ann");
    const changes: AccessChange[] = [
      { kind: "revoke", holder: { group: NFD }, permission: chat.can_use_chat },
      { kind: "remove-from-group", user: "ann", group: NFD },
      { kind: "delete-group", group: NFD },
    ];
    for (const change of changes) {
      expect(await access.preview(change), change.kind).toMatchObject({
        changed: true,
        users: [{ user: "ann", loses: [chat.can_use_chat] }],
        connections: [{ user: "ann" }],
      });
    }
    expect(await access.preview({ kind: "create-group", group: NFD })).toMatchObject({ changed: false });
  });
});

test.each([" ", "\u3000", "\u200b", "\u2060\u200d", "\u00ad", "\u3164", "\ufeff", "\u2800", "\u202e"])(
  "the invisible name %j is rejected for a group and for a user",
  async (name) => {
    const { access } = world.sallyport;
    await expect(access.groups.create(name)).rejects.toThrow(/group/);
    await expect(access.users.addToGroup("ann", name)).rejects.toThrow(/group/);
    await expect(access.grant(name, chat.can_use_chat)).rejects.toThrow(/^A user id must be/);
    expect(await access.groups.list()).toEqual([]);
  },
);
