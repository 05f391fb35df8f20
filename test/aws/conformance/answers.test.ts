import { createServer } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { deadTarget } from "../../local/rig.ts";
import {
  at,
  type Connected,
  connected,
  echo,
  expectErrorFrame,
  type GatewayUnderTest,
  headerOf,
  idOf,
  manage,
  openBackend,
  openGateway,
  openGatewayWithShortTimeout,
  route,
  sendMessage,
  testLocally,
} from "./gateway-under-test.ts";

/**
 * Expects that the next message of the client is a new post, so no answer has arrived before it.
 */
async function expectSilence(gateway: GatewayUnderTest, arrived: Connected): Promise<void> {
  expect((await manage(gateway, "POST", at(await idOf(arrived)), "a post")).status).toBe(200);
  expect(await arrived.client.text()).toBe("a post");
  expect(arrived.client.unread).toBe(0);
}

/** Opens a gateway with a one-way or two-way $default route. */
async function answering(routeResponse?: boolean): Promise<GatewayUnderTest> {
  const backend = await openBackend();
  const $default = route(backend, "default", routeResponse === undefined ? {} : { routeResponse });
  const routes = { $connect: route(backend, "connect", { routeResponse: true }), $default };
  return openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
}

describe("3.1 one-way and two-way", () => {
  testLocally(
    "3.1 a route without a route response is one-way",
    "a route without a route response",
    async () => {
      const gateway = await answering();
      const arrived = await connected(gateway);
      sendMessage(arrived, { body: "unheard" });
      await arrived.answered("default");
      await expectSilence(gateway, arrived);
    },
  );

  testLocally(
    "§9.23 a route with a route response is two-way without another setting",
    "a route response",
    async () => {
      expect(await echo(await connected(await answering(true)), "received")).toBe("received");
    },
  );

  test("3.1 the complete body of an answer is one text message", async () => {
    const arrived = await connected(await openGateway());
    const body = ' {"ok" : true, "ü": "\u{1f600}"}\n';
    sendMessage(arrived, { body });
    expect(await arrived.client.message()).toEqual({ text: body, isBinary: false });
  });

  test("3.1 the content type of an answer has no effect", async () => {
    const arrived = await connected(await openGateway());
    sendMessage(arrived, { body: "text", headers: { "content-type": "application/octet-stream" } });
    expect(await arrived.client.message()).toEqual({ text: "text", isBinary: false });
  });

  test("3.1 an answer without a body is an empty message", async () => {
    const arrived = await connected(await openGateway());
    sendMessage(arrived, {});
    expect(await arrived.client.message()).toEqual({ text: "", isBinary: false });
  });

  test.each([200, 201, 202, 299])("3.2 an answer of %d is delivered", async (status) => {
    const arrived = await connected(await openGateway());
    sendMessage(arrived, { status, body: "received" });
    expect(await arrived.client.text()).toBe("received");
  });

  test.each([400, 404, 500, 503])(
    "§9.2 with a route response the body of an answer of %d is delivered",
    async (status) => {
      const arrived = await connected(await openGateway());
      sendMessage(arrived, { status, body: "it failed" });
      expect(await arrived.client.text()).toBe("it failed");
    },
  );

  testLocally("§9.2 an option replaces such an answer with an error frame", "a switch", async () => {
    const arrived = await connected(await openGateway({ onHttpError: "errorFrame" }));
    sendMessage(arrived, { status: 404, body: "it failed" });
    expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
  });

  testLocally("§9.2 an option drops such an answer", "a switch", async () => {
    const gateway = await openGateway({ onHttpError: "silent" });
    const arrived = await connected(gateway);
    sendMessage(arrived, { status: 404, body: "unheard" });
    await arrived.answered("default");
    await expectSilence(gateway, arrived);
  });

  for (const status of [400, 500]) {
    testLocally(
      `§9.1 without a route response an answer of ${status} sends nothing`,
      "a route without a route response",
      async () => {
        const gateway = await openGateway({ routeResponses: false });
        const arrived = await connected(gateway);
        sendMessage(arrived, { status, body: "unheard" });
        await arrived.answered("default");
        await expectSilence(gateway, arrived);
      },
    );
  }

  testLocally("§9.1 an option sends an error frame for it", "a switch", async () => {
    const arrived = await connected(await openGateway({ routeResponses: false, onHttpError: "errorFrame" }));
    sendMessage(arrived, { status: 500, body: "unheard" });
    expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
  });

  test("§9.20 messages are processed concurrently and answered as they finish", async () => {
    const arrived = await connected(await openGateway());
    sendMessage(arrived, { body: "first", hold: true });
    await arrived.called("default");
    sendMessage(arrived, { body: "second" });
    expect(await arrived.client.text()).toBe("second");
    await arrived.release();
    expect(await arrived.client.text()).toBe("first");
  });

  test("3.1 the answer to $connect is not sent to the open socket", async () => {
    const gateway = await openGateway();
    await expectSilence(gateway, await connected(gateway, { body: "unheard" }));
  });

  testLocally(
    "3.1 it is not sent even if $connect has a route response",
    "a route response of $connect",
    async () => {
      const gateway = await answering(true);
      await expectSilence(gateway, await connected(gateway, { body: "unheard", own: "unheard" }));
    },
  );
});

describe("3.2 error frames, byte for byte", () => {
  /** Returns a client whose next message goes to a backend that fails in the given way. */
  async function failing(uri: string, routeResponse: boolean): Promise<Connected> {
    const gateway = await openGateway({});
    const arrived = await connected(gateway);
    await idOf(arrived);
    gateway.local.deploy({
      routes: { $default: { integration: { type: "HTTP_PROXY", uri }, routeResponse } },
    });
    arrived.client.socket.send("{}");
    return arrived;
  }

  for (const routeResponse of [true, false]) {
    const where = routeResponse ? "with a route response" : "without a route response";

    testLocally(
      `3.2 an unreachable backend causes Internal server error, ${where}`,
      "an unreachable backend",
      async () => {
        const arrived = await failing(await deadTarget(), routeResponse);
        expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
      },
    );

    testLocally(
      `3.2 a backend that is too slow causes Endpoint request timed out, ${where}`,
      "a time-out of 50 ms",
      async () => {
        const arrived = await connected(await openGatewayWithShortTimeout({ routeResponse }));
        sendMessage(arrived, { hold: true });
        const requestId = expectErrorFrame(
          await arrived.client.text(),
          "Endpoint request timed out",
          await idOf(arrived),
        );
        expect(headerOf(await arrived.called("default"), "x-sallyport-request-id")).toBe(requestId);
      },
    );
  }

  testLocally(
    "3.2 a backend without TLS at an https URL causes Internal server error",
    "a backend without TLS",
    async () => {
      const arrived = await failing((await openBackend()).replace("http:", "https:"), true);
      expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
    },
  );

  testLocally(
    "3.2 a backend that closes the connection causes Internal server error",
    "a backend that closes the connection",
    async () => {
      const server = createServer((request) => request.socket.destroy());
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      onTestFinished(() => void server.close());
      const { port } = server.address() as { port: number };
      const arrived = await failing(`http://127.0.0.1:${port}/`, false);
      expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
    },
  );

  testLocally(
    "3.2 a URL with an undefined variable causes Internal server error",
    "a misconfigured API",
    async () => {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of AWS
      const arrived = await failing("http://127.0.0.1/${stageVariables.missing}", true);
      expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
    },
  );

  testLocally("3.2 the socket stays open after an error frame", "a time-out of 50 ms", async () => {
    const arrived = await connected(await openGatewayWithShortTimeout());
    sendMessage(arrived, { hold: true });
    expect(await arrived.client.text()).toContain("Endpoint request timed out");
    expect(await echo(arrived, "here", { action: "custom" })).toBe("here");
  });
});

describe("2 unsupported integrations", () => {
  for (const type of ["MOCK", "HTTP", "AWS"]) {
    testLocally(`2 an integration of type ${type} is rejected`, "a separate API", async () => {
      const { local } = await openGateway({});
      const routes = { $default: { integration: { type, uri: "http://127.0.0.1/" } } } as never;
      expect(() => local.deploy({ routes })).toThrow(
        /"HTTP_PROXY" or "AWS_PROXY"\. MOCK, HTTP and AWS are not supported here/,
      );
    });
  }
});

describe("3.4 the timeout of an integration", () => {
  for (const [timeoutMs, isTaken] of [
    [49, false],
    [50, true],
    [29_000, true],
    [29_001, false],
    [Number.NaN, false],
  ] as const) {
    testLocally(`3.4 ${timeoutMs} ms ${isTaken ? "may" : "cannot"} be set`, "a separate API", async () => {
      const { local } = await openGateway({});
      const integration = { type: "HTTP_PROXY", uri: "http://127.0.0.1/", timeoutMs } as const;
      const deploying = () => local.deploy({ routes: { $default: { integration } } });
      if (isTaken) expect(deploying).not.toThrow();
      else expect(deploying).toThrow(/timeoutMs must be a number/);
    });
  }
});
