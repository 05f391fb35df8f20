import { describe, expect } from "vitest";
import { type Faults, ManualClock } from "../../../src/local/emulator.ts";
import {
  at,
  type Connected,
  connected,
  echo,
  expectErrorFrame,
  type GatewayUnderTest,
  handshake,
  headerOf,
  idOf,
  manage,
  openGateway,
  openGatewayWithShortTimeout,
  reset,
  sendMessage,
  testLocally,
  UNKNOWN_ID,
} from "./gateway-under-test.ts";

const FAULTS = "fault switches";
/** A delay that is longer than a test, in milliseconds. */
const VERY_LATE_MS = 1_000_000_000;

/** Opens a gateway with a connected client. Faults apply after that. */
async function faulty(
  faults: Faults,
  options = {},
): Promise<{ gateway: GatewayUnderTest; arrived: Connected }> {
  const gateway = await openGateway(options);
  const arrived = await connected(gateway);
  await idOf(arrived);
  gateway.local.setFaults(faults);
  return { gateway, arrived };
}

/** Sends messages together, and returns their answers in the order in which they arrive. */
async function answersTo(arrived: Connected, bodies: readonly string[]): Promise<readonly string[]> {
  for (const body of bodies) sendMessage(arrived, { body });
  const answers: string[] = [];
  while (answers.length < bodies.length) answers.push(await arrived.client.text());
  return answers;
}

describe("late events", () => {
  testLocally("§9.20 every event can be delayed by a number of milliseconds", FAULTS, async () => {
    const { arrived } = await faulty({ delayMs: 60 });
    expect(await echo(arrived, "late")).toBe("late");
  });

  testLocally("§9.20 selected events can be delayed, and others overtake them", FAULTS, async () => {
    const { arrived } = await faulty({
      delayMs: ({ routeKey }) => (routeKey === "custom" ? VERY_LATE_MS : 0),
    });
    sendMessage(arrived, { body: "late" }, { action: "custom" });
    sendMessage(arrived, { body: "soon" });
    expect(await arrived.client.text()).toBe("soon");
    expect(await arrived.kinds()).toEqual(["connect", "default"]);
  });

  testLocally("§9.21 a delayed $disconnect arrives after its client has reconnected", FAULTS, async () => {
    const { gateway, arrived } = await faulty({
      delayMs: ({ kind }) => (kind === "disconnect" ? VERY_LATE_MS : 0),
    });
    arrived.client.socket.close();
    await arrived.client.closed;
    const again = await connected(gateway);
    expect(await echo(again, "again")).toBe("again");
    expect(await arrived.kinds()).toEqual(["connect"]);
    gateway.local.setFaults({ delayMs: 20 });
    again.client.socket.close();
    await again.called("disconnect");
  });
});

describe("lost events", () => {
  testLocally("§9.21 a $disconnect can be lost", FAULTS, async () => {
    const gateway = await openGateway({});
    const [lost, received] = [await connected(gateway), await connected(gateway)];
    const id = await idOf(lost);
    gateway.local.setFaults({
      drop: ({ kind, connectionId }) => kind === "disconnect" && connectionId === id,
    });
    for (const { client } of [lost, received]) {
      client.socket.close();
      await client.closed;
    }
    await received.called("disconnect");
    expect(await lost.kinds()).toEqual(["connect"]);
  });

  testLocally(
    "§9.21 a post to a connection whose $disconnect was lost is answered as gone",
    FAULTS,
    async () => {
      const { gateway, arrived } = await faulty({ drop: 1 });
      arrived.client.socket.close();
      await arrived.client.closed;
      await expect.poll(() => gateway.local.connectionCount).toBe(0);
      expect((await manage(gateway, "POST", at(await idOf(arrived)), "x")).status).toBe(410);
      expect(await arrived.kinds()).toEqual(["connect"]);
    },
  );

  testLocally("3.2 a lost message times out, and its backend is not called", FAULTS, async () => {
    const gateway = await openGatewayWithShortTimeout();
    const arrived = await connected(gateway);
    gateway.local.setFaults({ drop: 1 });
    sendMessage(arrived, { body: "unheard" });
    expect(await arrived.client.text()).toMatch(/^\{"message": "Endpoint request timed out"/);
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  testLocally("1.2 a lost connect is rejected with 504", FAULTS, async () => {
    const gateway = await openGateway({ integrationTimeoutMs: 50 });
    gateway.local.setFaults({ drop: 1 });
    expect((await handshake(gateway)).status).toBe(504);
  });

  testLocally("§9.21 with a share and a seed, the same events are lost each time", FAULTS, async () => {
    const lost = async (seed: number) => {
      // Long enough for the messages that are not lost, also on a busy machine.
      const gateway = await openGatewayWithShortTimeout({ timeoutMs: 3000 });
      const arrived = await connected(gateway);
      gateway.local.setFaults({ drop: 0.5, seed });
      const answers = await answersTo(arrived, [..."abcdefghijklmnop"]);
      return answers.filter((answer) => answer.length === 1).sort();
    };
    const [first = [], again, another] = await Promise.all([lost(11), lost(11), lost(12)]);
    expect(first.length).toBeGreaterThan(3);
    expect(first.length).toBeLessThan(13);
    expect(again).toEqual(first);
    expect(another).not.toEqual(first);
  });
});

describe("doubled events", () => {
  testLocally(
    "§9.21 a message can be delivered twice, and its client receives one answer",
    FAULTS,
    async () => {
      const { arrived } = await faulty({ duplicate: ({ routeKey }) => routeKey === "$default" });
      expect(await echo(arrived, "once")).toBe("once");
      const [first, second] = [await arrived.answered("default"), await arrived.answered("default", 2)];
      expect(headerOf(second, "x-sallyport-request-id")).toBe(headerOf(first, "x-sallyport-request-id"));
      expect(await echo(arrived, "next", { action: "custom" })).toBe("next");
    },
  );

  testLocally("§9.21 a $disconnect can be delivered twice", FAULTS, async () => {
    const { arrived } = await faulty({ duplicate: 1 });
    arrived.client.socket.close();
    const [first, second] = [await arrived.called("disconnect"), await arrived.called("disconnect", 2)];
    expect(headerOf(second, "connectionId")).toBe(headerOf(first, "connectionId"));
  });

  testLocally("§9.21 a connect can be delivered twice, and one socket opens", FAULTS, async () => {
    const { gateway } = await faulty({ duplicate: ({ kind }) => kind === "connect" });
    const before = gateway.local.connectionCount;
    const arrived = await connected(gateway);
    await arrived.called("connect", 2);
    expect(gateway.local.connectionCount).toBe(before + 1);
  });
});

describe("shuffled events", () => {
  /** With this seed, four messages wait for 68, 98, 34 and 1 percent of the maximum. */
  const [SEED, ORDER] = [16_825, "3201"];
  const order = async (seed: number) => {
    const { arrived } = await faulty({ reorderMs: 200, seed });
    return (await answersTo(arrived, [..."0123"])).join("");
  };

  testLocally("§9.20 messages can be reordered, and none is lost", FAULTS, async () => {
    const shuffled = await order(SEED);
    expect(shuffled).not.toBe("0123");
    expect([...shuffled].sort()).toEqual([..."0123"]);
  });

  testLocally("§9.20 with a seed they are reordered the same way each time", FAULTS, async () => {
    expect(await Promise.all([order(SEED), order(SEED)])).toEqual([ORDER, ORDER]);
  });

  testLocally("§9.20 connects and $disconnects are not reordered", FAULTS, async () => {
    const { gateway } = await faulty({ reorderMs: 20_000, seed: SEED });
    const arrived = await connected(gateway);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
  });
});

describe("switches", () => {
  testLocally("§9.21 the latest settings apply, and {} removes all faults", FAULTS, async () => {
    const { gateway, arrived } = await faulty({ drop: 1 });
    gateway.local.setFaults({ duplicate: 1 });
    await echo(arrived, "twice");
    await arrived.called("default", 2);
    gateway.local.setFaults({});
    await echo(arrived, "once");
    expect(await arrived.kinds()).toEqual(["connect", "default", "default", "default"]);
  });

  for (const [faults, words] of [
    [{ drop: 2 }, /drop must be a number from 0 to 1 or a function, but received 2/],
    [{ drop: -0.1 }, /drop must be a number from 0 to 1 or a function, but received -0.1/],
    [{ duplicate: Number.NaN }, /duplicate must be a number or a function, but received NaN/],
    [{ delayMs: -1 }, /delayMs must be a number of milliseconds .* but received -1/],
    [
      { reorderMs: Number.POSITIVE_INFINITY },
      /reorderMs must be a number of milliseconds .* but received Infinity/,
    ],
  ] as const) {
    testLocally(`§9.21 ${words.source} is rejected`, FAULTS, async () => {
      const { local } = await openGateway({});
      expect(() => local.setFaults(faults)).toThrow(words);
    });
  }
});

describe("functions that select events and throw", () => {
  const throwing = () => {
    throw new Error("a bug in a test");
  };

  for (const faults of [{ drop: throwing }, { duplicate: throwing }, { delayMs: throwing }] as const) {
    testLocally(
      `§9.21 one for ${Object.keys(faults)} fails the event, is reported, and stops nothing`,
      FAULTS,
      async () => {
        const errors: string[] = [];
        const onError = (error: unknown, where: string) => errors.push(`${where}: ${error}`);
        const { gateway, arrived } = await faulty(faults, { onError });
        sendMessage(arrived, {});
        expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
        expect((await handshake(gateway)).status).toBe(500);
        arrived.client.socket.close();
        await expect.poll(() => errors).toHaveLength(3);
        expect(errors).toEqual(
          ["$default", "$connect", "$disconnect"].map((where) => `${where}: Error: a bug in a test`),
        );
        gateway.local.setFaults({});
        expect(await echo(await connected(gateway), "here")).toBe("here");
      },
    );
  }
});

describe("impaired clients", () => {
  testLocally("§9.22 a post to a half-open client is 200, and is lost", FAULTS, async () => {
    const { gateway, arrived } = await faulty({});
    const id = await idOf(arrived);
    expect(gateway.local.impair(id, "half-open")).toBe(true);
    expect((await manage(gateway, "POST", at(id), "lost")).status).toBe(200);
    gateway.local.impair(id, "none");
    expect((await manage(gateway, "POST", at(id), "received")).status).toBe(200);
    expect(await arrived.client.text()).toBe("received");
  });

  testLocally("§9.22 no message of a half-open client arrives until it recovers", FAULTS, async () => {
    const { gateway, arrived } = await faulty({});
    const id = await idOf(arrived);
    let pongs = 0;
    arrived.client.socket.on("pong", () => pongs++);
    gateway.local.impair(id, "half-open");
    sendMessage(arrived, { body: "late" });
    arrived.client.socket.ping();
    // A message of another client takes the same path in the same time.
    await echo(await connected(gateway), "well");
    expect([await arrived.kinds(), pongs]).toEqual([["connect"], 0]);
    gateway.local.impair(id, "none");
    expect(await arrived.client.text()).toBe("late");
  });

  testLocally("1.7 the end of a half-open client is not detected", FAULTS, async () => {
    const { gateway, arrived } = await faulty({});
    const id = await idOf(arrived);
    gateway.local.impair(id, "half-open");
    arrived.client.socket.terminate();
    await arrived.client.closed;
    await echo(await connected(gateway), "well");
    expect((await manage(gateway, "POST", at(id), "lost")).status).toBe(200);
    expect(await arrived.kinds()).toEqual(["connect"]);
    gateway.local.impair(id, "none");
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1006");
  });

  testLocally("§9.28 messages of a half-open client are not activity, posts to it are", FAULTS, async () => {
    const clock = new ManualClock();
    const { gateway, arrived } = await faulty({}, { clock });
    const path = at(await idOf(arrived));
    const lastActiveAt = async () => JSON.parse((await manage(gateway, "GET", path)).body).lastActiveAt;
    const opened = await lastActiveAt();
    gateway.local.impair(await idOf(arrived), "half-open");
    clock.advance(1000);
    sendMessage(arrived, { body: "unheard" });
    await echo(await connected(gateway), "well");
    reset(arrived);
    await arrived.client.closed;
    await echo(await connected(gateway), "well");
    expect(await lastActiveAt()).toBe(opened);
    expect(await arrived.kinds()).toEqual(["connect"]);
    await manage(gateway, "POST", path, "lost");
    expect(Date.parse(await lastActiveAt()) - Date.parse(opened)).toBe(1000);
  });

  testLocally("5.4 a DELETE ends a half-open connection whose client has disconnected", FAULTS, async () => {
    const { gateway, arrived } = await faulty({});
    const id = await idOf(arrived);
    gateway.local.impair(id, "half-open");
    arrived.client.socket.terminate();
    await arrived.client.closed;
    expect((await manage(gateway, "DELETE", at(id))).status).toBe(204);
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1000");
  });

  testLocally(
    "§9.22 it is detected after a while: its $disconnect contains 1006, and a post is 410",
    FAULTS,
    async () => {
      const clock = new ManualClock();
      const { gateway, arrived } = await faulty({}, { clock });
      const id = await idOf(arrived);
      gateway.local.impair(id, "half-open", { noticedAfterMs: 5000 });
      clock.advance(4999);
      expect((await manage(gateway, "POST", at(id), "lost")).status).toBe(200);
      clock.advance(1);
      const gone = await arrived.called("disconnect");
      expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1006");
      expect((await manage(gateway, "POST", at(id), "x")).status).toBe(410);
    },
  );

  testLocally("§9.22 one that recovers in time is not closed", FAULTS, async () => {
    const clock = new ManualClock();
    const { gateway, arrived } = await faulty({}, { clock });
    const id = await idOf(arrived);
    gateway.local.impair(id, "half-open", { noticedAfterMs: 5000 });
    gateway.local.impair(id, "none");
    clock.advance(5000);
    expect(await echo(arrived, "here")).toBe("here");
  });

  testLocally(
    "4 ten minutes of silence end a half-open connection too, without a close frame for its client",
    FAULTS,
    async () => {
      const clock = new ManualClock();
      const { gateway, arrived } = await faulty({}, { clock });
      gateway.local.impair(await idOf(arrived), "half-open");
      sendMessage(arrived, {});
      clock.advance(10 * 60_000);
      const gone = await arrived.called("disconnect");
      expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1001");
      expect((await arrived.client.closed).code).toBe(1006);
    },
  );

  testLocally(
    "5.3 a post to a client with a full buffer is 429 LimitExceeded without a body",
    FAULTS,
    async () => {
      const { gateway, arrived } = await faulty({});
      const id = await idOf(arrived);
      gateway.local.impair(id, "not-reading");
      const { status, headers, body } = await manage(gateway, "POST", at(id), "x");
      expect([status, headers["x-amzn-errortype"], body]).toEqual([429, "LimitExceededException", ""]);
      gateway.local.impair(id, "none");
      expect((await manage(gateway, "POST", at(id), "received")).status).toBe(200);
      expect(await arrived.client.text()).toBe("received");
    },
  );

  testLocally(
    "§9.29 a post to a client that does not read is 429 too, when enough bytes wait",
    FAULTS,
    async () => {
      const gateway = await openGateway({ maxBufferedBytes: 100_000 });
      const arrived = await connected(gateway);
      const path = at(await idOf(arrived));
      arrived.client.socket.pause();
      const statuses: number[] = [];
      while (statuses.at(-1) !== 429 && statuses.length < 400)
        statuses.push((await manage(gateway, "POST", path, "x".repeat(128 * 1024))).status);
      expect(new Set(statuses)).toEqual(new Set([200, 429]));
      expect(await arrived.kinds()).toEqual(["connect"]);
    },
  );

  testLocally("§9.22 an unknown connection cannot be impaired", FAULTS, async () => {
    const { gateway, arrived } = await faulty({});
    expect(gateway.local.impair(UNKNOWN_ID, "half-open")).toBe(false);
    const id = await idOf(arrived);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(gateway.local.impair(id, "half-open")).toBe(false);
  });
});
