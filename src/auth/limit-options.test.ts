import { expect, test } from "vitest";
import { parseOptions } from "../options.ts";
import { limitsSchema } from "./limit-options.ts";

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
