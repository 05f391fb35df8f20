import { describe, expect, test } from "vitest";
import { parseOptions } from "../options.ts";
import type { ValidViewLimits } from "../views/limits.ts";
import { LimitSettings, type Limits, limitsSchema } from "./limits.ts";

test("B35 limits are whole numbers or false, and have defaults", () => {
  const parse = (limits: unknown) => parseOptions("limits", limitsSchema, limits);
  expect(parse({ tokensPerUser: 0, connectsPerIp: false })).toEqual({
    connectsPerUser: 20,
    connectsPerIp: false,
    failedConnectsPerIp: 20,
    connectionsPerUser: 50,
    tokensPerUser: 0,
    messagesPerConnection: 600,
    messagesPerUser: 3000,
    messagesInFlightPerConnection: 100,
    messagesInFlightPerUser: 200,
    messagesInFlightPerProcess: 2000,
  });
  for (const value of [-1, 1.5, Number.NaN, "5", true, null]) {
    expect(() => parse({ tokensPerUser: value }), String(value)).toThrow(
      /tokensPerUser must be a whole number/,
    );
  }
});

const settings = (app: Partial<Limits>, views: Readonly<Record<string, ValidViewLimits>>) =>
  new LimitSettings(
    parseOptions("limits", limitsSchema, app),
    new Map(Object.entries(views).map(([path, limits]) => [path, { limits }])),
  );

describe("a limit at a view", () => {
  test("is the view's value, also if it is 0 or false, and otherwise the app's", () => {
    const limits = settings(
      { connectsPerUser: 7 },
      { "/one": { connectsPerUser: 0 }, "/two": { connectsPerUser: false }, "/three": { connectsPerIp: 3 } },
    );
    expect(limits.at("/one", "connectsPerUser")).toEqual({ value: 0, view: "/one" });
    expect(limits.at("/two", "connectsPerUser")).toEqual({ value: false, view: "/two" });
    expect(limits.at("/three", "connectsPerUser")).toEqual({ value: 7, view: null });
    expect(limits.at("/three", "connectsPerIp")).toEqual({ value: 3, view: "/three" });
    expect(limits.at("/unknown", "connectsPerUser")).toEqual({ value: 7, view: null });
  });
});

describe("the limit of open connections at a view", () => {
  const views = {
    "/own": { connectionsPerUser: 2 },
    "/unlimited": { connectionsPerUser: false },
    "/one": {},
    "/two": { connectsPerUser: 1 },
  } as const;

  test("is counted for one view if that view sets it", () => {
    expect(settings({ connectionsPerUser: 9 }, views).connectionsAt("/own")).toEqual({
      max: 2,
      scope: { view: "/own" },
    });
  });

  test("is the app's value, counted over all views that do not set their own", () => {
    const limits = settings({ connectionsPerUser: 9 }, views);
    const others = { max: 9, scope: { exceptViews: ["/own", "/unlimited"] } };
    expect(limits.connectionsAt("/one")).toEqual(others);
    expect(limits.connectionsAt("/two")).toEqual(others);
  });

  test("does not exist if the value is false", () => {
    expect(settings({ connectionsPerUser: 9 }, views).connectionsAt("/unlimited")).toBeUndefined();
    const limits = settings({ connectionsPerUser: false }, views);
    expect(limits.connectionsAt("/one")).toBeUndefined();
    expect(limits.connectionsAt("/own")).toMatchObject({ max: 2 });
  });

  test("can be 0, which allows no connection", () => {
    expect(settings({ connectionsPerUser: 0 }, {}).connectionsAt("/one")).toEqual({
      max: 0,
      scope: { exceptViews: [] },
    });
  });
});
