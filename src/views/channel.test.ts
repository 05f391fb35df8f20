import { describe, expect, test } from "vitest";
import { ConfigurationError } from "../errors.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import { defineChannel } from "./channel.ts";

const open = { allowAnonymous: true } as const;

describe("defineChannel", () => {
  test("matches complete names and returns the parameters", () => {
    const room = defineChannel("rooms/:slug", open);
    expect(room.match("rooms/general")).toEqual({ slug: "general" });
    for (const name of ["rooms", "rooms/", "rooms/a/b", "xrooms/a", "rooms/a\n", "Rooms/a"]) {
      expect(room.match(name), name).toBeUndefined();
    }
  });

  test("accepts a parameter after a prefix, as in channel names of the Python package", () => {
    const personal = defineChannel("notifications_user_:id", open);
    expect(personal.match("notifications_user_7")).toEqual({ id: "7" });
    expect(personal.match("notifications_user_")).toBeUndefined();
    expect(defineChannel("org/:org/room_:id", open).match("org/a/room_b")).toEqual({ org: "a", id: "b" });
  });

  test("accepts a parameter that is named constructor", () => {
    const params = defineChannel("x/:constructor", open).match("x/y");
    expect(Object.entries(params ?? {})).toEqual([["constructor", "y"]]);
  });

  test("rejects a pattern that no name can match, and a channel without a rule", () => {
    for (const pattern of ["", "rooms/", "/rooms", "rooms/*", "rooms/:", "a b", "rooms/:a:b", "x/:id/:id"]) {
      expect(() => defineChannel(pattern, open), pattern).toThrow(ConfigurationError);
    }
    expect(() => defineChannel(5 as never, open)).toThrow(/the pattern must be a string, but received 5/);
    expect(() => defineChannel("rooms/:slug", undefined as never)).toThrow(/must be a plain object/);
    expect(() => defineChannel("rooms/:slug", {})).toThrow(
      /^channel "rooms\/:slug" has no rule\. Add permissionsRequired/,
    );
  });
});

test("a channel name has parts of letters, digits, _ and -, and at most 128 characters", () => {
  for (const name of ["a", "room_123", "a/b/c", "A-Z_9"]) expect(isChannelName(name), name).toBe(true);
  for (const name of ["", "/", "a/", "/a", "a//b", "a b", "a.b", "é", "a\n", "a\u0000", "x".repeat(129)]) {
    expect(isChannelName(name), JSON.stringify(name)).toBe(false);
  }
});
