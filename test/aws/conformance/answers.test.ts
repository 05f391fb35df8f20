import { describe, expect, test } from "vitest";
import { connected, onDesk, openDesk, say } from "./desk.ts";

const IDS = '"connectionId":"[A-Za-z0-9_-]{15}=", "requestId":"[A-Za-z0-9_-]{15}="}$';

describe("3.1 answers", () => {
  test("3.1 the whole body of an answer is one text message", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { body: ' {"ok" : true}\n' });
    expect(await arrived.client.message()).toEqual({ text: ' {"ok" : true}\n', isBinary: false });
  });

  test("3.1 no body is an empty message", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, {});
    expect(await arrived.client.text()).toBe("");
  });

  onDesk(
    "3.1, §9.2 the body of an answer that is not 2xx passes through, unless the switch says otherwise",
    async () => {
      const through = await connected(await openDesk({}));
      say(through, { status: 500, body: "it failed" });
      expect(await through.client.text()).toBe("it failed");
      const framed = await connected(await openDesk({ onHttpError: "errorFrame" }));
      say(framed, { status: 404, body: "it failed" });
      expect(await framed.client.text()).toMatch(
        new RegExp(`^\\{"message": "Internal server error", ${IDS}`),
      );
      const silent = await connected(await openDesk({ onHttpError: "silent" }));
      say(silent, { status: 404, body: "it failed" });
      say(silent, { body: "later" });
      expect(await silent.client.text()).toBe("later");
    },
  );

  onDesk(
    "3.1, §9.1 without a route response nothing of an answer reaches the client, whatever its status",
    async () => {
      const arrived = await connected(await openDesk({ routeResponses: false }));
      say(arrived, { body: "unheard" });
      say(arrived, { status: 500, body: "unheard" });
      await arrived.called("default", 2);
      expect(arrived.client.unread).toBe(0);
    },
  );

  test("3.1, §9.20 answers come in the order in which the backend finishes", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { body: "first", delayMs: 250 });
    say(arrived, { body: "second" });
    expect([await arrived.client.text(), await arrived.client.text()]).toEqual(["second", "first"]);
  });

  test("3.1 nothing of what $connect is answered reaches an open socket", async () => {
    const arrived = await connected(await openDesk(), { body: "unheard" });
    say(arrived, { body: "heard" });
    expect(await arrived.client.text()).toBe("heard");
  });
});

describe("3.2 error frames, byte for byte", () => {
  onDesk("3.2 a backend that is not there any more, with a route response or without", async () => {
    for (const routeResponses of [true, false]) {
      const desk = await openDesk({ routeResponses });
      const arrived = await connected(desk);
      const integration = { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/" } as const;
      desk.local.deploy({ routes: { $default: { integration, routeResponse: routeResponses } } });
      arrived.client.socket.send("{}");
      expect(await arrived.client.text()).toMatch(
        new RegExp(`^\\{"message": "Internal server error", ${IDS}`),
      );
      expect(arrived.client.socket.readyState).toBe(1);
    }
  });

  onDesk("3.2, 3.4 a backend that is too slow", async () => {
    const arrived = await connected(await openDesk({ integrationTimeoutMs: 50 }));
    say(arrived, { delayMs: 300 });
    expect(await arrived.client.text()).toMatch(
      new RegExp(`^\\{"message": "Endpoint request timed out", ${IDS}`),
    );
    say(arrived, { body: "here" });
    expect(await arrived.client.text()).toBe("here");
  });

  onDesk("3.4 an integration may wait for 29 seconds and no longer", async () => {
    await expect(openDesk({ integrationTimeoutMs: 29_001 })).rejects.toThrow(/at most 29000/);
  });
});
