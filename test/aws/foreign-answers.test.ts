import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { GetApiCommand } from "@aws-sdk/client-apigatewayv2";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ControlPlane } from "../../src/aws/provisioning/control-plane.ts";

let server: Server;
let endpoint: string;
let answer: RequestListener;
let plane: ControlPlane;
beforeEach(async () => {
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "not a secret");
  server = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  plane = new ControlPlane("eu-west-1", { endpoint, wait: async () => undefined });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await plane.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const PAGE = `<html>\r\n<title>\u001b[2J502 Bad Gateway</title>${"x".repeat(300)}`;
const EXCERPT = `"<html>\\r\\n<title>\\u001b[2J502 Bad Gateway</title>${"x".repeat(200 - 42)}" …`;

describe("an answer of a proxy in front of AWS", () => {
  test.each([200, 403, 404, 502])("with status %d is quoted with the URL", async (status) => {
    answer = (_request, response) => response.writeHead(status, { "content-type": "text/html" }).end(PAGE);
    await expect(plane.read(new GetApiCommand({ ApiId: "a1b2c3d4e5" }))).rejects.toMatchObject({
      name: "ProvisioningError",
      message:
        `GetApi in eu-west-1 was answered ${status} by ${endpoint}/v2/apis/a1b2c3d4e5, and not with the JSON of AWS: ${EXCERPT}. ` +
        "Check the proxy or the endpoint between this machine and AWS.",
    });
  });

  test.each([[404], [502]])("with status %d does not mean that an API does not exist", async (status) => {
    answer = (_request, response) => response.writeHead(status).end("<p>no");
    const failure = plane.read(new GetApiCommand({ ApiId: "a1b2c3d4e5" }));
    await expect(failure).rejects.toMatchObject({
      isStale: false,
      awsStatus: status === 404 ? undefined : 502,
    });
  });

  test("is retried if the proxy fails, but not if it rejects the request", async () => {
    for (const [status, count] of [
      [502, 4],
      [403, 1],
    ] as const) {
      let calls = 0;
      answer = (_request, response) => {
        calls++;
        response.writeHead(status).end("<p>no");
      };
      await plane.read(new GetApiCommand({ ApiId: "a1b2c3d4e5" })).catch(() => undefined);
      expect([status, calls]).toEqual([status, count]);
    }
  });

  test("is quoted for calls about functions too", async () => {
    answer = (_request, response) => response.writeHead(502).end("<p>no");
    const functions = await plane.functions();
    const name = "arn:aws:lambda:eu-west-1:123456789012:function:chat";
    await expect(functions.statements(name)).rejects.toThrow(
      /^GetPolicy in eu-west-1 was answered 502 by http:.*\/policy, and not with the JSON of AWS: "<p>no"\. Check/,
    );
  });
});

test("an error of AWS is reported with its name and message", async () => {
  answer = (_request, response) =>
    response
      .writeHead(403, { "x-amzn-errortype": "AccessDeniedException", "content-type": "application/json" })
      .end('{"message":"no way"}');
  await expect(plane.read(new GetApiCommand({ ApiId: "a1b2c3d4e5" }))).rejects.toThrow(
    /^GetApi in eu-west-1 was answered 403: AccessDeniedException: no way\. /,
  );
});

test("an answer without a body is reported with its status", async () => {
  answer = (_request, response) => response.writeHead(502).end();
  await expect(plane.read(new GetApiCommand({ ApiId: "a1b2c3d4e5" }))).rejects.toThrow(
    /^GetApi in eu-west-1 was answered 502: /,
  );
});
