import { describe, expect } from "vitest";
import { type Faults, ManualClock } from "../../../src/local/emulator.ts";
import {
  at,
  type Connected,
  connected,
  type Desk,
  echo,
  expectErrorFrame,
  handshake,
  headerOf,
  idOf,
  manage,
  NOBODY,
  onDesk,
  openDesk,
  openImpatientDesk,
  reset,
  say,
} from "./desk.ts";

const FAULTS = "fault switches";
/** A delay that does not pass while a test runs, in milliseconds. */
const VERY_LATE_MS = 1_000_000_000;

/** A desk with a client; what goes wrong goes wrong after that. */
async function faulty(faults: Faults, options = {}): Promise<{ desk: Desk; arrived: Connected }> {
  const desk = await openDesk(options);
  const arrived = await connected(desk);
  await idOf(arrived);
  desk.local.setFaults(faults);
  return { desk, arrived };
}

/** Answers to messages that are sent at once, in the order in which they come. */
async function answersTo(arrived: Connected, bodies: readonly string[]): Promise<readonly string[]> {
  for (const body of bodies) say(arrived, { body });
  const answers: string[] = [];
  while (answers.length < bodies.length) answers.push(await arrived.client.text());
  return answers;
}

describe("late events", () => {
  onDesk("§9.20 every event may be late by so many milliseconds", FAULTS, async () => {
    const { arrived } = await faulty({ delayMs: 60 });
    expect(await echo(arrived, "late")).toBe("late");
  });

  onDesk("§9.20 chosen events may be late, and others overtake them", FAULTS, async () => {
    const { arrived } = await faulty({
      delayMs: ({ routeKey }) => (routeKey === "custom" ? VERY_LATE_MS : 0),
    });
    say(arrived, { body: "late" }, { action: "custom" });
    say(arrived, { body: "soon" });
    expect(await arrived.client.text()).toBe("soon");
    expect(await arrived.kinds()).toEqual(["connect", "default"]);
  });

  onDesk("§9.21 a late $disconnect comes after its client has connected again", FAULTS, async () => {
    const { desk, arrived } = await faulty({
      delayMs: ({ kind }) => (kind === "disconnect" ? VERY_LATE_MS : 0),
    });
    arrived.client.socket.close();
    await arrived.client.closed;
    const again = await connected(desk);
    expect(await echo(again, "again")).toBe("again");
    expect(await arrived.kinds()).toEqual(["connect"]);
    desk.local.setFaults({ delayMs: 20 });
    again.client.socket.close();
    await again.called("disconnect");
  });
});

describe("lost events", () => {
  onDesk("§9.21 a $disconnect may be lost", FAULTS, async () => {
    const desk = await openDesk({});
    const [lost, heard] = [await connected(desk), await connected(desk)];
    const id = await idOf(lost);
    desk.local.setFaults({ drop: ({ kind, connectionId }) => kind === "disconnect" && connectionId === id });
    for (const { client } of [lost, heard]) {
      client.socket.close();
      await client.closed;
    }
    await heard.called("disconnect");
    expect(await lost.kinds()).toEqual(["connect"]);
  });

  onDesk("§9.21 whoever posts to one whose $disconnect was lost finds it gone", FAULTS, async () => {
    const { desk, arrived } = await faulty({ drop: 1 });
    arrived.client.socket.close();
    await arrived.client.closed;
    await expect.poll(() => desk.local.connectionCount).toBe(0);
    expect((await manage(desk, "POST", at(await idOf(arrived)), "x")).status).toBe(410);
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  onDesk("3.2 a message that is lost is timed out, and its backend hears nothing", FAULTS, async () => {
    const desk = await openImpatientDesk();
    const arrived = await connected(desk);
    desk.local.setFaults({ drop: 1 });
    say(arrived, { body: "unheard" });
    expect(await arrived.client.text()).toMatch(/^\{"message": "Endpoint request timed out"/);
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  onDesk("1.2 a connect that is lost is 504", FAULTS, async () => {
    const desk = await openDesk({ integrationTimeoutMs: 50 });
    desk.local.setFaults({ drop: 1 });
    expect((await handshake(desk)).status).toBe(504);
  });

  onDesk("§9.21 by a share of chance and a seed, the same events are lost each time", FAULTS, async () => {
    const lost = async (seed: number) => {
      // Time enough for the messages that are not lost, on a busy machine as well.
      const desk = await openImpatientDesk({ timeoutMs: 3000 });
      const arrived = await connected(desk);
      desk.local.setFaults({ drop: 0.5, seed });
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
  onDesk("§9.21 a message may come twice, and its client has one answer", FAULTS, async () => {
    const { arrived } = await faulty({ duplicate: ({ routeKey }) => routeKey === "$default" });
    expect(await echo(arrived, "once")).toBe("once");
    const [first, second] = [await arrived.answered("default"), await arrived.answered("default", 2)];
    expect(headerOf(second, "x-sallyport-request-id")).toBe(headerOf(first, "x-sallyport-request-id"));
    expect(await echo(arrived, "next", { action: "custom" })).toBe("next");
  });

  onDesk("§9.21 a $disconnect may come twice", FAULTS, async () => {
    const { arrived } = await faulty({ duplicate: 1 });
    arrived.client.socket.close();
    const [first, second] = [await arrived.called("disconnect"), await arrived.called("disconnect", 2)];
    expect(headerOf(second, "connectionId")).toBe(headerOf(first, "connectionId"));
  });

  onDesk("§9.21 a connect may come twice, and one socket opens", FAULTS, async () => {
    const { desk } = await faulty({ duplicate: ({ kind }) => kind === "connect" });
    const before = desk.local.connectionCount;
    const arrived = await connected(desk);
    await arrived.called("connect", 2);
    expect(desk.local.connectionCount).toBe(before + 1);
  });
});

describe("shuffled events", () => {
  /** By this seed four messages wait for 68, 98, 34 and 1 hundredths of the time that they may. */
  const [SEED, ORDER] = [16_825, "3201"];
  const order = async (seed: number) => {
    const { arrived } = await faulty({ reorderMs: 200, seed });
    return (await answersTo(arrived, [..."0123"])).join("");
  };

  onDesk("§9.20 messages may overtake one another, and none is lost", FAULTS, async () => {
    const shuffled = await order(SEED);
    expect(shuffled).not.toBe("0123");
    expect([...shuffled].sort()).toEqual([..."0123"]);
  });

  onDesk("§9.20 by a seed they do so the same way each time", FAULTS, async () => {
    expect(await Promise.all([order(SEED), order(SEED)])).toEqual([ORDER, ORDER]);
  });

  onDesk("§9.20 no connect and no $disconnect is shuffled", FAULTS, async () => {
    const { desk } = await faulty({ reorderMs: 20_000, seed: SEED });
    const arrived = await connected(desk);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
  });
});

describe("switches", () => {
  onDesk("§9.21 what is switched on last counts, and {} ends it", FAULTS, async () => {
    const { desk, arrived } = await faulty({ drop: 1 });
    desk.local.setFaults({ duplicate: 1 });
    await echo(arrived, "twice");
    await arrived.called("default", 2);
    desk.local.setFaults({});
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
    onDesk(`§9.21 ${words.source} is refused`, FAULTS, async () => {
      const { local } = await openDesk({});
      expect(() => local.setFaults(faults)).toThrow(words);
    });
  }
});

describe("functions that choose events and throw", () => {
  const throwing = () => {
    throw new Error("a bug in a test");
  };

  for (const faults of [{ drop: throwing }, { duplicate: throwing }, { delayMs: throwing }] as const) {
    onDesk(
      `§9.21 one for ${Object.keys(faults)} fails the event, is told of, and ends nothing`,
      FAULTS,
      async () => {
        const errors: string[] = [];
        const onError = (error: unknown, where: string) => errors.push(`${where}: ${error}`);
        const { desk, arrived } = await faulty(faults, { onError });
        say(arrived, {});
        expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
        expect((await handshake(desk)).status).toBe(500);
        arrived.client.socket.close();
        await expect.poll(() => errors).toHaveLength(3);
        expect(errors).toEqual(
          ["$default", "$connect", "$disconnect"].map((where) => `${where}: Error: a bug in a test`),
        );
        desk.local.setFaults({});
        expect(await echo(await connected(desk), "here")).toBe("here");
      },
    );
  }
});

describe("impaired clients", () => {
  onDesk("§9.22 a post to a half-open client is 200, and lost", FAULTS, async () => {
    const { desk, arrived } = await faulty({});
    const id = await idOf(arrived);
    expect(desk.local.impair(id, "half-open")).toBe(true);
    expect((await manage(desk, "POST", at(id), "lost")).status).toBe(200);
    desk.local.impair(id, "none");
    expect((await manage(desk, "POST", at(id), "heard")).status).toBe(200);
    expect(await arrived.client.text()).toBe("heard");
  });

  onDesk("§9.22 nothing comes from a half-open client until it is well again", FAULTS, async () => {
    const { desk, arrived } = await faulty({});
    const id = await idOf(arrived);
    let pongs = 0;
    arrived.client.socket.on("pong", () => pongs++);
    desk.local.impair(id, "half-open");
    say(arrived, { body: "late" });
    arrived.client.socket.ping();
    // Another client's message goes the same way in the meantime.
    await echo(await connected(desk), "well");
    expect([await arrived.kinds(), pongs]).toEqual([["connect"], 0]);
    desk.local.impair(id, "none");
    expect(await arrived.client.text()).toBe("late");
  });

  onDesk("1.7 that a half-open client is gone is not seen", FAULTS, async () => {
    const { desk, arrived } = await faulty({});
    const id = await idOf(arrived);
    desk.local.impair(id, "half-open");
    arrived.client.socket.terminate();
    await arrived.client.closed;
    await echo(await connected(desk), "well");
    expect((await manage(desk, "POST", at(id), "lost")).status).toBe(200);
    expect(await arrived.kinds()).toEqual(["connect"]);
    desk.local.impair(id, "none");
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1006");
  });

  onDesk("§9.28 what a half-open client sends is no activity, posts to it are", FAULTS, async () => {
    const clock = new ManualClock();
    const { desk, arrived } = await faulty({}, { clock });
    const path = at(await idOf(arrived));
    const lastActiveAt = async () => JSON.parse((await manage(desk, "GET", path)).body).lastActiveAt;
    const opened = await lastActiveAt();
    desk.local.impair(await idOf(arrived), "half-open");
    clock.advance(1000);
    say(arrived, { body: "unheard" });
    await echo(await connected(desk), "well");
    reset(arrived);
    await arrived.client.closed;
    await echo(await connected(desk), "well");
    expect(await lastActiveAt()).toBe(opened);
    expect(await arrived.kinds()).toEqual(["connect"]);
    await manage(desk, "POST", path, "lost");
    expect(Date.parse(await lastActiveAt()) - Date.parse(opened)).toBe(1000);
  });

  onDesk("5.4 a DELETE ends a half-open connection, whose client is gone already", FAULTS, async () => {
    const { desk, arrived } = await faulty({});
    const id = await idOf(arrived);
    desk.local.impair(id, "half-open");
    arrived.client.socket.terminate();
    await arrived.client.closed;
    expect((await manage(desk, "DELETE", at(id))).status).toBe(204);
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1000");
  });

  onDesk(
    "§9.22 a while later it is found out: its $disconnect tells 1006, and a post is 410",
    FAULTS,
    async () => {
      const clock = new ManualClock();
      const { desk, arrived } = await faulty({}, { clock });
      const id = await idOf(arrived);
      desk.local.impair(id, "half-open", { noticedAfterMs: 5000 });
      clock.advance(4999);
      expect((await manage(desk, "POST", at(id), "lost")).status).toBe(200);
      clock.advance(1);
      const gone = await arrived.called("disconnect");
      expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1006");
      expect((await manage(desk, "POST", at(id), "x")).status).toBe(410);
    },
  );

  onDesk("§9.22 one that is well again in time is not", FAULTS, async () => {
    const clock = new ManualClock();
    const { desk, arrived } = await faulty({}, { clock });
    const id = await idOf(arrived);
    desk.local.impair(id, "half-open", { noticedAfterMs: 5000 });
    desk.local.impair(id, "none");
    clock.advance(5000);
    expect(await echo(arrived, "here")).toBe("here");
  });

  onDesk(
    "4 ten minutes of silence end a half-open connection too, without a word to its client",
    FAULTS,
    async () => {
      const clock = new ManualClock();
      const { desk, arrived } = await faulty({}, { clock });
      desk.local.impair(await idOf(arrived), "half-open");
      say(arrived, {});
      clock.advance(10 * 60_000);
      const gone = await arrived.called("disconnect");
      expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1001");
      expect((await arrived.client.closed).code).toBe(1006);
    },
  );

  onDesk(
    "5.3 a post to a client whose buffer is full is 429 LimitExceeded without a body",
    FAULTS,
    async () => {
      const { desk, arrived } = await faulty({});
      const id = await idOf(arrived);
      desk.local.impair(id, "not-reading");
      const { status, headers, body } = await manage(desk, "POST", at(id), "x");
      expect([status, headers["x-amzn-errortype"], body]).toEqual([429, "LimitExceededException", ""]);
      desk.local.impair(id, "none");
      expect((await manage(desk, "POST", at(id), "heard")).status).toBe(200);
      expect(await arrived.client.text()).toBe("heard");
    },
  );

  onDesk(
    "§9.29 so is one to a client that really does not read, once so many bytes wait",
    FAULTS,
    async () => {
      const desk = await openDesk({ maxBufferedBytes: 100_000 });
      const arrived = await connected(desk);
      const path = at(await idOf(arrived));
      arrived.client.socket.pause();
      const statuses: number[] = [];
      while (statuses.at(-1) !== 429 && statuses.length < 400)
        statuses.push((await manage(desk, "POST", path, "x".repeat(128 * 1024))).status);
      expect(new Set(statuses)).toEqual(new Set([200, 429]));
      expect(await arrived.kinds()).toEqual(["connect"]);
    },
  );

  onDesk("§9.22 nobody that is not there can be impaired", FAULTS, async () => {
    const { desk, arrived } = await faulty({});
    expect(desk.local.impair(NOBODY, "half-open")).toBe(false);
    const id = await idOf(arrived);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(desk.local.impair(id, "half-open")).toBe(false);
  });
});
