import { describe, expect, test } from "vitest";
import { ConfigurationError, RequestError } from "../errors.ts";
import { definePermissions, PermissionCatalog } from "../permissions/define.ts";
import { defineChannel } from "./channel.ts";
import { Channels, checkChannelName } from "./channels.ts";
import type { User } from "./context.ts";

const chat = definePermissions("chat", { use: "Use", send: "Send" });
const stray = definePermissions("stray", { use: "Use" });
const catalog = new PermissionCatalog([chat]);
const person = (id: string | undefined) => ({ id }) as User;

describe("Channels", () => {
  test("returns the rules and hooks of all definitions that a name matches", async () => {
    const channels = new Channels(
      [
        defineChannel("rooms/:slug", { permissionsRequired: [chat.use], sendRequired: [chat.send] }),
        defineChannel("rooms/vip", { signedIn: true, authorize: ({ channel }) => channel === "rooms/vip" }),
      ],
      catalog,
    );
    const vip = channels.require("rooms/vip");
    expect(vip.rules).toHaveLength(2);
    expect(vip.sendRules.map(({ anyOf }) => anyOf)).toEqual([[[chat.send]], []]);
    expect(await vip.authorize[0]?.(person("ann"))).toBe(true);
    expect(channels.match("rooms/other")?.rules).toHaveLength(1);
    expect(channels.match("halls/vip")).toBeUndefined();
    expect(channels.list().map(({ pattern, hasAuthorize }) => [pattern, hasAuthorize])).toEqual([
      ["rooms/:slug", false],
      ["rooms/vip", true],
    ]);
  });

  test("calls authorizeMany for a user who joins, but not for a caller without an id", async () => {
    const named: (readonly string[])[] = [];
    const channels = new Channels(
      [
        defineChannel("club", {
          signedIn: true,
          authorizeMany: ({ userIds }) => {
            named.push(userIds);
            return ["bob", "ann"];
          },
        }),
      ],
      catalog,
    );
    const [authorize] = channels.require("club").authorize;
    expect(await authorize?.(person("ann"))).toBe(true);
    expect(await authorize?.(person("eve"))).toBe(false);
    expect(await authorize?.(person(undefined))).toBe(false);
    expect(named).toEqual([["ann"], ["eve"]]);
    expect(channels.list()[0]?.hasAuthorize).toBe(true);
  });

  test("rejects a pattern that is declared twice, and an unknown permission", () => {
    const room = defineChannel("rooms/:slug", { signedIn: true });
    expect(() => new Channels([room, room], catalog)).toThrow(/declared twice/);
    const foreign = defineChannel("rooms/:slug", { permissionsRequired: [stray.use] });
    expect(() => new Channels([foreign], catalog)).toThrow(ConfigurationError);
    const sending = defineChannel("rooms/:slug", { signedIn: true, sendRequired: [stray.use] });
    expect(() => new Channels([sending], catalog)).toThrow(ConfigurationError);
  });

  test("rejects an invalid name with 400 and an undefined channel with 403", () => {
    const channels = new Channels([defineChannel("club", { signedIn: true })], catalog);
    for (const name of ["", "/", "a//b", "a b", "x".repeat(129), "club\n"]) {
      expect(() => channels.require(name), name).toThrow(
        expect.objectContaining({ status: 400 }) as RequestError,
      );
    }
    expect(() => channels.require("pub")).toThrow(
      expect.objectContaining({ status: 403, reason: "channel" }) as RequestError,
    );
    for (const name of [7, null, undefined, {}, ["club"]]) {
      expect(() => checkChannelName(name), String(name)).toThrow(RequestError);
    }
    const long = (() => {
      try {
        checkChannelName("y".repeat(5000));
      } catch (error) {
        return error as Error;
      }
    })();
    expect(long?.message.length).toBeLessThan(400);
  });
});
