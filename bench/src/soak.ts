import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { defineChannel, gatewaySecret, handler, WebSocketView } from "sallyport";
import { nodeListener } from "sallyport/adapters/node";
import { startLocalGateway } from "sallyport/local";
import { sqlite } from "sallyport/storage/sqlite";
import WebSocket from "ws";
import { benchApp, chat } from "./bench-app.js";
import { median } from "./pairs.js";

/**
 * `npm run soak`: ten minutes (`-- --minutes 1` for one) at half of the measured peak, with 2 000 sockets that join, leave, speak, hang up, come
 * back, and lose their right now and then. Ends with 1 when something failed, or when memory grew, or what is open at rest: sockets and timers
 * are counted after a quarter of the time and at the end, each time when everything has been answered, since under way there are as many as
 * there is work at that moment.
 */
const SOCKETS = Number(process.env.SOAK_SOCKETS ?? 2000);
const LOGIN = "x-bench-user";
const WARM_UP_SHARE = 0.25;
/** How much of its middle a process may have gained at the end, in MiB: what a garbage collector has not come to yet. */
const GROWTH_MIB = 48;
const SAMPLE_EVERY_MS = 1000;
const SETTLING_MS = 2000;

/** Open sockets, timers and the like, by kind. */
type Resources = Readonly<Record<string, number>>;

/** Of one process: its memory now and then under load, in MiB, and what it has open when the load has ended. */
interface Readings {
  readonly rssMiB: readonly number[];
  readonly atRest: Resources;
}

/** What the process of the gateway and the sockets reports of one stretch. */
interface Stretch extends Readings {
  readonly calls: number;
  readonly failures: readonly string[];
}

async function soak(): Promise<void> {
  const at = process.argv.indexOf("--minutes");
  const minutes = at < 0 ? 10 : Number(process.argv[at + 1]);
  const folder = await mkdtemp(join(tmpdir(), "sallyport-soak-"));
  const errors: string[] = [];
  class ChatView extends WebSocketView {
    static permissionsRequired = [chat.use];
    ping = handler(() => "pong");
    // From one room into another, so that the work of a message does not grow with the minutes.
    join = handler(async ({ body, move }) => {
      await move(String((body as { room: unknown }).room));
    });
    leave = handler(async ({ leave }) => leave());
    say = handler(async ({ session, to }) => {
      if (session.channel) await to({ channel: session.channel }).send({ type: "said" });
    });
  }
  const app = benchApp(sqlite(join(folder, "soak.db")), {
    channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
    views: { "/ws/chat": ChatView },
    authenticate: (request) => {
      const userId = request.headers.get(LOGIN);
      return userId === null ? null : { userId };
    },
    onError: (error, where) => errors.push(`${where}: ${error}`),
  });
  await app.migrate();
  for (let user = 0; user < SOCKETS; user++) await app.access.addToGroup(`user-${user}`, `Crew ${user % 20}`);
  for (let crew = 0; crew < 20; crew++) await app.access.grant({ group: `Crew ${crew}` }, chat.use);
  const server = createServer(nodeListener(app));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const appUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const secret = gatewaySecret();
  const child = fork(fileURLToPath(import.meta.url), ["outside", appUrl, secret]);
  child.once("exit", (code) => {
    if (code === 0 || code === null) return;
    console.error(`The process of the gateway and the sockets ended with ${code}.`);
    process.exit(1);
  });
  const { apiId, endpoint } = (await told(child)) as { apiId: string; endpoint: string };
  await app.registerGateway({ name: "soak", apiId, endpoint, secret });

  child.send({ do: "connect" });
  await told(child);
  child.send({ do: "peak" });
  const peak = (await told(child)) as number;
  const rate = Math.round(peak / 2);
  console.log(`${SOCKETS} sockets, peak ${peak.toFixed(0)} messages/s, ${minutes} min at ${rate}/s`);
  let revoked = 0;
  /** Both processes at work for a while, and then at rest. */
  const stretch = async (ms: number): Promise<{ app: Readings; outside: Stretch }> => {
    const rssMiB: number[] = [];
    const until = performance.now() + ms;
    child.send({ do: "work", rate, ms });
    const outside = told(child) as Promise<Stretch>;
    while (performance.now() < until) {
      const crew = { group: `Crew ${revoked++ % 20}` };
      await app.access.revoke(crew, chat.use);
      await app.access.grant(crew, chat.use);
      if (revoked % 10 === 0) await app.cleanup();
      rssMiB.push(rss());
      await sleep((minutes * 60_000) / 60);
    }
    const reported = await outside;
    return { app: { rssMiB, atRest: resources() }, outside: reported };
  };
  const warmUp = await stretch(minutes * 60_000 * WARM_UP_SHARE);
  const rest = await stretch(minutes * 60_000 * (1 - WARM_UP_SHARE));
  child.kill();
  server.closeAllConnections();
  server.close();
  await app.close();
  await rm(folder, { recursive: true, force: true });

  const calls = warmUp.outside.calls + rest.outside.calls;
  console.log(`${calls} calls, ${revoked} revocations of ${SOCKETS / 20} users each`);
  const complaints = [
    ...errors,
    ...warmUp.outside.failures,
    ...rest.outside.failures,
    ...grown("the app", warmUp.app, rest.app),
    ...grown("gateway and clients", warmUp.outside, rest.outside),
  ];
  for (const complaint of complaints.slice(0, 20)) console.error(complaint);
  console.log(complaints.length === 0 ? "Nothing failed, nothing grew." : `${complaints.length} complaints.`);
  process.exitCode = complaints.length === 0 ? 0 : 1;
}

function rss(): number {
  return process.memoryUsage().rss / 2 ** 20;
}

function resources(): Resources {
  const counted: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counted[kind] = (counted[kind] ?? 0) + 1;
  return counted;
}

/** What a process has more of: memory in the second half of the time, anything else at its end than after the warm-up. */
function grown(what: string, warmUp: Readings, { rssMiB, atRest }: Readings): readonly string[] {
  const half = Math.floor(rssMiB.length / 2);
  const [before, after] = [median(rssMiB.slice(0, half)), median(rssMiB.slice(half))];
  console.log(`${what}: ${before.toFixed(0)} MiB in the middle, ${after.toFixed(0)} MiB at the end`);
  const found =
    after - before > GROWTH_MIB ? [`${what} grew from ${before.toFixed(0)} to ${after.toFixed(0)} MiB`] : [];
  for (const [kind, many] of Object.entries(atRest)) {
    const few = warmUp.atRest[kind] ?? 0;
    if (many > few * 1.5 + 50) found.push(`${what} has ${many} of ${kind} at rest, and had ${few}`);
  }
  return found;
}

function told(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once("message", resolve));
}

/** The gateway and the sockets of the people. */
async function outside(appUrl: string, secret: string): Promise<void> {
  const gateway = await startLocalGateway({ target: `${appUrl}/ws/chat/`, port: 0, secret });
  const people = Array.from(
    { length: SOCKETS },
    (_, number) => new Person(`user-${number}`, gateway.url, appUrl),
  );
  process.on("message", async (order: { do: string; rate: number; ms: number }) => {
    if (order.do === "connect") {
      for (let from = 0; from < people.length; from += 50) {
        await Promise.all(people.slice(from, from + 50).map((person) => person.connect()));
      }
      process.send?.("connected");
    }
    if (order.do === "peak") process.send?.(await peakOf(people));
    if (order.do === "work") process.send?.(await keepBusy(people, order));
  });
  process.send?.({ apiId: gateway.apiId, endpoint: gateway.endpoint });
}

/** As much of the same as 64 people do who wait for each answer, when rooms are as full as they become. */
async function peakOf(people: readonly Person[]): Promise<number> {
  const [fillingMs, ms] = [15_000, 10_000];
  const begun = performance.now();
  let calls = 0;
  await Promise.all(
    Array.from({ length: 64 }, async () => {
      for (;;) {
        const passed = performance.now() - begun;
        if (passed > fillingMs + ms) return;
        await someone(people).live(deed());
        if (passed > fillingMs) calls++;
      }
    }),
  );
  return calls / (ms / 1000);
}

function someone(people: readonly Person[]): Person {
  return people[Math.floor(Math.random() * people.length)] as Person;
}

function deed(): string {
  return DEEDS[Math.floor(Math.random() * DEEDS.length)] ?? "ping";
}

const DEEDS = ["ping", "ping", "ping", "ping", "ping", "join", "leave", "say"] as const;

async function keepBusy(
  people: readonly Person[],
  { rate, ms }: { rate: number; ms: number },
): Promise<Stretch> {
  const until = performance.now() + ms;
  const failures: string[] = [];
  const rssMiB: number[] = [];
  const underWay = new Set<Promise<void>>();
  let calls = 0;
  let lastSample = 0;
  for (let due = performance.now(); performance.now() < until; due += 10) {
    for (let n = 0; n < rate / 100; n++) {
      calls++;
      const done = someone(people)
        .live(deed())
        .catch((error) => {
          failures.push(String(error));
        });
      underWay.add(done);
      done.finally(() => underWay.delete(done));
    }
    if (performance.now() - lastSample > SAMPLE_EVERY_MS) {
      lastSample = performance.now();
      rssMiB.push(rss());
    }
    await sleep(Math.max(0, due + 10 - performance.now()));
  }
  await Promise.all(underWay);
  // What goes out without an answer, such as notices and disconnects, arrives too.
  await sleep(SETTLING_MS);
  return { calls, failures, rssMiB, atRest: resources() };
}

/** Somebody with a socket, who comes back whenever it is lost. */
class Person {
  readonly #user: string;
  readonly #url: string;
  readonly #appUrl: string;
  readonly #waiting = new Map<number, (answer: { ok: boolean; status: number }) => void>();
  #socket: WebSocket | undefined;
  #connecting: Promise<void> | undefined;
  #last = 0;

  constructor(user: string, url: string, appUrl: string) {
    this.#user = user;
    this.#url = url;
    this.#appUrl = appUrl;
  }

  connect(): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(): Promise<void> {
    const headers = { [LOGIN]: this.#user };
    const response = await fetch(`${this.#appUrl}/api/ws-token`, { method: "POST", headers });
    if (response.status !== 200) throw new Error(`token: ${response.status}`);
    const { token } = (await response.json()) as { token: string };
    const socket = new WebSocket(`${this.#url}?ws_token=${token}`, { headers });
    socket.on("message", (data) => {
      const { id, ok, status } = JSON.parse(data.toString()) as { id?: number; ok: boolean; status: number };
      const answered = id === undefined ? undefined : this.#waiting.get(id);
      if (id !== undefined) this.#waiting.delete(id);
      answered?.({ ok, status });
    });
    socket.on("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
      for (const answered of this.#waiting.values()) answered({ ok: false, status: 0 });
      this.#waiting.clear();
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve);
      // A right may be gone between the token and the handshake.
      socket.once("unexpected-response", (_request, { statusCode }) => {
        socket.terminate();
        if (statusCode === 403) resolve();
        else reject(new Error(`connect: ${statusCode}`));
      });
      socket.on("error", () => resolve());
    });
    if (socket.readyState === WebSocket.OPEN) this.#socket = socket;
  }

  /** Now and then hangs up and comes back; otherwise does something, and has an answer within ten seconds. */
  async live(deed: string): Promise<void> {
    if (!this.#socket) return this.connect();
    if (Math.random() < 0.01) {
      this.#socket.close();
      return;
    }
    const { ok, status } = await this.call(deed, { room: `rooms/${Math.floor(Math.random() * 200)}` });
    // 403: the right was lost meanwhile. 0: so was the socket.
    if (!ok && ![0, 403].includes(status)) throw new Error(`${deed}: ${status}`);
  }

  call(name: string, fields: object = {}): Promise<{ ok: boolean; status: number }> {
    const socket = this.#socket;
    if (!socket) return Promise.resolve({ ok: false, status: 0 });
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${name}: no answer for 10 s`));
      }, 10_000);
      this.#waiting.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      socket.send(JSON.stringify({ ...fields, handler: name, id }));
    });
  }
}

if (process.argv[2] === "outside") await outside(process.argv[3] as string, process.argv[4] as string);
else await soak();
