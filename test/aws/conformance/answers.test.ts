import { createServer } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { deadTarget } from "../../local/rig.ts";
import {
  at,
  type Connected,
  connected,
  type Desk,
  echo,
  expectErrorFrame,
  headerOf,
  idOf,
  manage,
  onDesk,
  openBackend,
  openDesk,
  openImpatientDesk,
  route,
  say,
} from "./desk.ts";

/** Expects that nothing has reached a client yet, but what is posted to it now. */
async function expectSilence(desk: Desk, arrived: Connected): Promise<void> {
  expect((await manage(desk, "POST", at(await idOf(arrived)), "a post")).status).toBe(200);
  expect(await arrived.client.text()).toBe("a post");
  expect(arrived.client.unread).toBe(0);
}

/** A desk whose $default is one-way or two-way. */
async function answering(routeResponse?: boolean): Promise<Desk> {
  const backend = await openBackend();
  const $default = route(backend, "default", routeResponse === undefined ? {} : { routeResponse });
  const routes = { $connect: route(backend, "connect", { routeResponse: true }), $default };
  return openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
}

describe("3.1 one-way and two-way", () => {
  onDesk("3.1 a route is one-way unless it has a route response", "a route without one", async () => {
    const desk = await answering();
    const arrived = await connected(desk);
    say(arrived, { body: "unheard" });
    await arrived.answered("default");
    await expectSilence(desk, arrived);
  });

  onDesk(
    "§9.23 a route that has a route response is two-way, with nothing else set",
    "one route response",
    async () => {
      expect(await echo(await connected(await answering(true)), "heard")).toBe("heard");
    },
  );

  test("3.1 the whole body of an answer is one text message", async () => {
    const arrived = await connected(await openDesk());
    const body = ' {"ok" : true, "ü": "\u{1f600}"}\n';
    say(arrived, { body });
    expect(await arrived.client.message()).toEqual({ text: body, isBinary: false });
  });

  test("3.1 what content type an answer has does not matter", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { body: "text", headers: { "content-type": "application/octet-stream" } });
    expect(await arrived.client.message()).toEqual({ text: "text", isBinary: false });
  });

  test("3.1 an answer without a body is an empty message", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, {});
    expect(await arrived.client.message()).toEqual({ text: "", isBinary: false });
  });

  test.each([200, 201, 202, 299])("3.2 an answer of %d is delivered", async (status) => {
    const arrived = await connected(await openDesk());
    say(arrived, { status, body: "heard" });
    expect(await arrived.client.text()).toBe("heard");
  });

  test.each([400, 404, 500, 503])(
    "§9.2 with a route response the body of an answer of %d passes through",
    async (status) => {
      const arrived = await connected(await openDesk());
      say(arrived, { status, body: "it failed" });
      expect(await arrived.client.text()).toBe("it failed");
    },
  );

  onDesk("§9.2 by a switch such an answer is an error frame", "a switch", async () => {
    const arrived = await connected(await openDesk({ onHttpError: "errorFrame" }));
    say(arrived, { status: 404, body: "it failed" });
    expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
  });

  onDesk("§9.2 by a switch such an answer is nothing", "a switch", async () => {
    const desk = await openDesk({ onHttpError: "silent" });
    const arrived = await connected(desk);
    say(arrived, { status: 404, body: "unheard" });
    await arrived.answered("default");
    await expectSilence(desk, arrived);
  });

  for (const status of [400, 500]) {
    onDesk(
      `§9.1 without a route response an answer of ${status} gives nothing`,
      "a route without one",
      async () => {
        const desk = await openDesk({ routeResponses: false });
        const arrived = await connected(desk);
        say(arrived, { status, body: "unheard" });
        await arrived.answered("default");
        await expectSilence(desk, arrived);
      },
    );
  }

  onDesk("§9.1 by a switch it gives an error frame", "a switch", async () => {
    const arrived = await connected(await openDesk({ routeResponses: false, onHttpError: "errorFrame" }));
    say(arrived, { status: 500, body: "unheard" });
    expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
  });

  test("§9.20 messages run side by side, and are answered as they finish", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { body: "first", hold: true });
    await arrived.called("default");
    say(arrived, { body: "second" });
    expect(await arrived.client.text()).toBe("second");
    await arrived.release();
    expect(await arrived.client.text()).toBe("first");
  });

  test("3.1 nothing of what $connect is answered reaches the open socket", async () => {
    const desk = await openDesk();
    await expectSilence(desk, await connected(desk, { body: "unheard" }));
  });

  onDesk("3.1 not even where $connect has a route response", "such a route", async () => {
    const desk = await answering(true);
    await expectSilence(desk, await connected(desk, { body: "unheard", own: "unheard" }));
  });
});

describe("3.2 error frames, byte for byte", () => {
  /** A client whose next message goes to a backend that fails as it is given. */
  async function failing(uri: string, routeResponse: boolean): Promise<Connected> {
    const desk = await openDesk({});
    const arrived = await connected(desk);
    await idOf(arrived);
    desk.local.deploy({ routes: { $default: { integration: { type: "HTTP_PROXY", uri }, routeResponse } } });
    arrived.client.socket.send("{}");
    return arrived;
  }

  for (const routeResponse of [true, false]) {
    const where = routeResponse ? "with a route response" : "without a route response";

    onDesk(
      `3.2 a backend that is not there gives Internal server error, ${where}`,
      "such a backend",
      async () => {
        const arrived = await failing(await deadTarget(), routeResponse);
        expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
      },
    );

    onDesk(
      `3.2 a backend that is too slow gives Endpoint request timed out, ${where}`,
      "a time-out of 50 ms",
      async () => {
        const arrived = await connected(await openImpatientDesk({ routeResponse }));
        say(arrived, { hold: true });
        const requestId = expectErrorFrame(
          await arrived.client.text(),
          "Endpoint request timed out",
          await idOf(arrived),
        );
        expect(headerOf(await arrived.called("default"), "x-sallyport-request-id")).toBe(requestId);
      },
    );
  }

  onDesk(
    "3.2 a backend that does not speak TLS where it should gives Internal server error",
    "such a backend",
    async () => {
      const arrived = await failing((await openBackend()).replace("http:", "https:"), true);
      expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
    },
  );

  onDesk("3.2 a backend that hangs up gives Internal server error", "such a backend", async () => {
    const server = createServer((request) => request.socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const arrived = await failing(`http://127.0.0.1:${port}/`, false);
    expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
  });

  onDesk("3.2 a URL that lacks a variable gives Internal server error", "a misconfigured API", async () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: AWS's own syntax
    const arrived = await failing("http://127.0.0.1/${stageVariables.missing}", true);
    expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
  });

  onDesk("3.2 after an error frame the socket stays open", "a time-out of 50 ms", async () => {
    const arrived = await connected(await openImpatientDesk());
    say(arrived, { hold: true });
    expect(await arrived.client.text()).toContain("Endpoint request timed out");
    expect(await echo(arrived, "here", { action: "custom" })).toBe("here");
  });
});

describe("2 integrations that are not played", () => {
  for (const type of ["MOCK", "HTTP", "AWS"]) {
    onDesk(`2 an integration of type ${type} is refused`, "an API of one's own", async () => {
      const { local } = await openDesk({});
      const routes = { $default: { integration: { type, uri: "http://127.0.0.1/" } } } as never;
      expect(() => local.deploy({ routes })).toThrow(
        /"HTTP_PROXY" or "AWS_PROXY"\. MOCK, HTTP and AWS are not supported here/,
      );
    });
  }
});

describe("3.4 the time-out of an integration", () => {
  for (const [timeoutMs, isTaken] of [
    [49, false],
    [50, true],
    [29_000, true],
    [29_001, false],
    [Number.NaN, false],
  ] as const) {
    onDesk(`3.4 ${timeoutMs} ms ${isTaken ? "may" : "cannot"} be set`, "an API of one's own", async () => {
      const { local } = await openDesk({});
      const integration = { type: "HTTP_PROXY", uri: "http://127.0.0.1/", timeoutMs } as const;
      const deploying = () => local.deploy({ routes: { $default: { integration } } });
      if (isTaken) expect(deploying).not.toThrow();
      else expect(deploying).toThrow(/timeoutMs must be a number/);
    });
  }
});
