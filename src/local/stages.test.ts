import { describe, expect, test } from "vitest";
import { ConfigurationError } from "../errors.ts";
import type { LocalStage } from "./apis.ts";
import { ManualClock } from "./clock.ts";
import { type DomainMappings, Stages } from "./stages.ts";
import { takeEach } from "./throttling.ts";

const routes = {
  $default: { integration: { type: "HTTP_PROXY", uri: "http://127.0.0.1:3000/" } },
} as const;

function stagesOf(
  apis: Readonly<Record<string, Readonly<Record<string, LocalStage>>>>,
  domains: DomainMappings = {},
): Stages {
  const all = Object.entries(apis).map(([id, stages]) => ({ id, stages, routes }));
  return new Stages(all, { domains, clock: new ManualClock(0), credentials: undefined });
}

/** Returns the stage that a request selects, and the rest of its path. */
function found(stages: Stages, host: string | undefined, path: string): string | undefined {
  const at = stages.at(host, path);
  return at && `${at.stage.apiId}/${at.stage.name} ${at.rest}`.trimEnd();
}

const AWS = "execute-api.eu-west-1.amazonaws.com";

describe("a request", () => {
  const stages = stagesOf(
    { first: { dev: {} }, second: { dev: {}, test: {} } },
    {
      "ws.example.test": {
        chat: { apiId: "second", stage: "test" },
        news: { apiId: "first", stage: "dev" },
      },
      "root.example.test": {
        "": { apiId: "second", stage: "dev" },
        chat: { apiId: "first", stage: "dev" },
      },
    },
  );

  test.each([
    [undefined, "/dev", "first/dev"],
    ["localhost:3001", "/dev", "first/dev"],
    ["127.0.0.1", "/test", "second/test"],
    ["[::1]:3001", "/dev", "first/dev"],
    ["localhost", "/dev/", "first/dev /"],
    ["localhost", "/dev/@connections/x", "first/dev /@connections/x"],
    ["localhost", "/dev//@connections/x", "first/dev //@connections/x"],
    [`second.${AWS}`, "/dev", "second/dev"],
    [`SECOND.${AWS.toUpperCase()}:443`, "/test/x", "second/test /x"],
    ["second.localhost:3001", "/dev", "second/dev"],
    ["ws.example.test", "/chat", "second/test"],
    ["WS.example.test:443", "/news/@connections/x", "first/dev /@connections/x"],
    ["root.example.test", "/", "second/dev"],
    ["root.example.test", "/@connections/x", "second/dev /@connections/x"],
    ["root.example.test", "/chat", "first/dev"],
    ["root.example.test", "/other", "second/dev /other"],
  ])("to %s%s selects %s", (host, path, stage) => {
    expect(found(stages, host, path)).toBe(stage);
  });

  test.each([
    ["localhost", "/"],
    ["localhost", "//dev"],
    ["localhost", "/DEV"],
    ["localhost", "/constructor"],
    ["localhost", "dev"],
    [`first.${AWS}`, "/test"],
    ["first.localhost", "/test"],
    [`third.${AWS}`, "/dev"],
    ["third.execute-api.cn-north-1.amazonaws.com.cn", "/dev"],
    ["third.execute-api.eusc-de-east-1.amazonaws.eu", "/dev"],
    ["ws.example.test", "/"],
    ["ws.example.test", "/dev"],
    ["ws.example.test", "/constructor"],
  ])("to %s%s selects no stage", (host, path) => {
    expect(found(stages, host, path)).toBeUndefined();
  });

  test.each([
    ["ws.example.test:443", true],
    [`first.${AWS}`, true],
    ["first.localhost", true],
    ["localhost:3001", false],
    [`third.${AWS}`, false],
    ["constructor", false],
  ])("has a known host %s: %s", (host, isKnown) => {
    expect(stages.isKnownHost(host)).toBe(isKnown);
  });
});

describe("a deployment", () => {
  const other = { send: { integration: { type: "HTTP_PROXY", uri: "http://127.0.0.1:3000/send" } } } as const;

  test("replaces the routes of a stage, and keeps the stage and its variables", () => {
    const stages = stagesOf({ first: { dev: { variables: { a: "1" } } } });
    const before = stages.at(undefined, "/dev")?.stage;
    const { deployment } = before ?? {};
    stages.deploy("first", "dev", { routes: other });
    const after = stages.at(undefined, "/dev")?.stage;
    expect(after).toBe(before);
    expect(after?.variables.a).toBe("1");
    expect(after?.deployment).not.toBe(deployment);
    expect([...(after?.deployment.routes.keys() ?? [])]).toEqual(["send"]);
  });

  test("changes nothing if it is rejected", () => {
    const stages = stagesOf({ first: { dev: {} } });
    const before = stages.at(undefined, "/dev")?.stage.deployment;
    expect(() => stages.deploy("first", "dev", { routes: {} })).toThrow(ConfigurationError);
    expect(() => stages.deploy("first", "a/b", { routes: other })).toThrow(/is not a valid stage name/);
    expect(stages.at(undefined, "/dev")?.stage.deployment).toBe(before);
    expect([...stages]).toHaveLength(1);
  });

  test("creates a missing stage with its options", () => {
    const stages = stagesOf({ first: { dev: {} } });
    stages.deploy("first", "test", { routes: other }, { variables: { a: "1" } });
    expect([...stages].map(({ apiId, name }) => `${apiId}/${name}`)).toEqual(["first/dev", "first/test"]);
    expect(found(stages, `first.${AWS}`, "/test")).toBe("first/test");
    expect(stages.at(undefined, "/test")?.stage.variables.a).toBe("1");
  });

  test("cannot change the options of an existing stage", () => {
    const stages = stagesOf({ first: { dev: {} } });
    expect(() => stages.deploy("first", "dev", { routes: other }, { variables: {} })).toThrow(
      'API "first": stage "dev" exists already',
    );
  });

  test("does not create an API", () => {
    const stages = stagesOf({ first: { dev: {} } });
    expect(() => stages.deploy("frist", "dev", { routes: other })).toThrow(
      'There is no API "frist" to deploy to. Use one of: "first".',
    );
  });
});

describe("a stage", () => {
  test("accepts all messages without throttling", () => {
    const stage = stagesOf({ first: { dev: {} } }).at(undefined, "/dev")?.stage;
    expect(stage?.bucketOf("$default")).toBeUndefined();
  });

  test("throttles each route separately", () => {
    const throttling = { ratePerSecond: 1, burst: 1 };
    const stage = stagesOf({ first: { dev: { throttling } } }).at(undefined, "/dev")?.stage;
    const taken = ["$default", "send", "$default", "send"].map((key) => takeEach([stage?.bucketOf(key)]));
    expect(taken).toEqual([true, true, false, false]);
  });

  test("accepts variables with names of up to 64 and values of up to 512 characters", () => {
    const variables = { ["n".repeat(64)]: "v".repeat(512), A_1: "AZaz09-._~:/?#&=," };
    const stage = stagesOf({ first: { dev: { variables } } }).at(undefined, "/dev")?.stage;
    expect({ ...stage?.variables }).toEqual(variables);
  });

  test.each([
    ["n".repeat(65), "v"],
    ["", "v"],
    ["a.b", "v"],
    ["ä", "v"],
    ["a", ""],
    ["a", "v".repeat(513)],
    ["a", "+"],
    ["a", "%"],
    ["a", "v\n"],
  ])("rejects the variable %j with the value %j", (name, value) => {
    expect(() => stagesOf({ first: { dev: { variables: { [name]: value } } } })).toThrow(
      `stage "dev": the variable ${JSON.stringify(name)} has a name or value that AWS does not accept`,
    );
  });

  test("has a name of up to 128 letters, digits, _ and -", () => {
    expect(() => stagesOf({ first: { ["Aa0_-".repeat(25)]: {} } })).not.toThrow();
    for (const name of ["", "s".repeat(129), "a.b", "a/b", "$default"])
      expect(() => stagesOf({ first: { [name]: {} } }), name).toThrow(
        `stage "${name}" is not a valid stage name`,
      );
  });
});

describe("a domain", () => {
  test.each([
    ["an unknown API", { "": { apiId: "second", stage: "dev" } }, "ws.example.test/"],
    ["an unknown stage", { chat: { apiId: "first", stage: "test" } }, "ws.example.test/chat"],
  ])("is rejected with %s", (_what, mappings, name) => {
    expect(() => stagesOf({ first: { dev: {} } }, { "ws.example.test": mappings })).toThrow(
      `domains: "${name}" leads to a stage that does not exist.`,
    );
  });
});
