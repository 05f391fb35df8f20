import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkNode, OLDEST_NODE } from "./environment.ts";

describe("checkNode", () => {
  test("compares with the version in package.json", () => {
    const file = new URL("../../../package.json", import.meta.url);
    const { engines } = JSON.parse(readFileSync(file, "utf8")) as { engines: { node: string } };
    expect(engines.node).toBe(`>=${OLDEST_NODE.join(".")}`);
  });

  test.each(["20.19.0", "22.1.0", "100.0.0"])("accepts %s", (version) => {
    expect(checkNode(version)).toEqual({ status: "ok", message: `Node.js ${version} is supported.` });
  });

  test.each(["20.18.3", "18.20.0", "9.99.0"])("rejects %s", (version) => {
    expect(checkNode(version)).toEqual({
      status: "failed",
      message: `Node.js ${version} is not supported.`,
      fix: "Install Node.js 20.19 or later.",
    });
  });
});
