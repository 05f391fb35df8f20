import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { defineGateway } from "../../src/aws.ts";

/** The text of a section of a page, from its heading to the next one of the same level. */
function section(page: string, heading: string): string {
  const text = readFileSync(join(import.meta.dirname, "../../docs", page), "utf8");
  const [level = ""] = /^#+/.exec(heading) ?? [];
  const start = text.indexOf(`\n${heading}\n`);
  expect(start, heading).toBeGreaterThan(-1);
  const [body = ""] = text.slice(start + heading.length + 2).split(new RegExp(`^#{1,${level.length}} `, "m"));
  return body;
}

test("the docs of trustProxy disable the default endpoint, by options that a gateway accepts", () => {
  const body = section("reference/options.md", "### `gatewayAuth` and `trustProxy`");
  expect(body).toMatch(/directly writes its own `X-Forwarded-For`/);
  expect(body).toContain("disableExecuteApiEndpoint: true,");
  expect(body).toContain("--disable-execute-api-endpoint");
  const certificateArn = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d";
  const gateway = defineGateway({
    name: "chat",
    region: "eu-west-1",
    target: "https://www.example.com/ws/chat",
    domain: { name: "ws.example.com", certificateArn },
    disableExecuteApiEndpoint: true,
  });
  expect(gateway.disableExecuteApiEndpoint).toBe(true);
});

test("the docs name what the WebSocketApi of CDK needs for answers", () => {
  const body = section("guides/gateways.md", "## By CDK");
  expect(body).toMatch(/defaultRouteOptions: \{ integration: \w+, returnResponse: true \}/);
  expect(body).toMatch(/registerGateway\(\{ .*replies: "push" \}\)/);
});
