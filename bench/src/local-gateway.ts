import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { startLocalGateway } from "sallyport/local";
import { Agent, request } from "undici";
import WebSocket from "ws";
import { median } from "./comparison.js";
import { figure, printFigures } from "./figures.js";

/**
 * `npm run bench:local-gateway`: measures memory and latency of the local gateway. The gateway, the
 * backend and the clients run in separate processes.
 *
 * A message through the gateway alternates with a direct call of the backend, so that other load on
 * the machine affects both. The overhead is the median of the differences.
 *
 * `SOCKETS` sets the number of idle sockets (default 10 000).
 */
const SOCKETS = Number(process.env.SOCKETS ?? 10_000);
/** Number of sockets that connect at the same time. */
const BATCH_SIZE = 100;
const ROUNDS = 5;
/** Number of pairs of a message and a direct call in a round. */
const PAIRS = 2000;
const MIB = 2 ** 20;

const [role, target = ""] = process.argv.slice(2);
if (role === "backend") await runBackend();
else if (role === "gateway") await runGateway(target);
else await measure();

async function measure(): Promise<void> {
  const backend = startChild("backend");
  const { url: backendUrl } = await nextMessage<{ url: string }>(backend);
  const gateway = startChild("gateway", backendUrl);
  const { url } = await nextMessage<{ url: string }>(gateway);

  const memoryMiB = () => {
    const message = nextMessage<{ rss: number }>(gateway);
    gateway.send("memory");
    return message.then(({ rss }) => rss / MIB);
  };
  const before = await memoryMiB();
  const sockets: WebSocket[] = [];
  while (sockets.length < SOCKETS) {
    const batch = Array.from({ length: Math.min(BATCH_SIZE, SOCKETS - sockets.length) }, () =>
      openSocket(url),
    );
    sockets.push(...(await Promise.all(batch)));
  }
  const after = await memoryMiB();

  const agent = new Agent();
  const [socket] = sockets;
  const rounds: Round[] = [];
  for (let round = -1; round < ROUNDS; round++) {
    const measured = await measureRound(
      () => callBackend(agent, `${backendUrl}default`),
      () => sendMessage(socket as WebSocket),
    );
    if (round >= 0) rounds.push(measured);
  }
  const load = `with ${SOCKETS} idle sockets`;
  printFigures([
    figure(`memory of the gateway process, ${load}`, "MiB", [after], 400),
    figure("memory of the gateway process, without sockets", "MiB", [before]),
    figure("memory of all sockets", "MiB", [after - before]),
    figure("memory per socket", "KiB", [((after - before) * 1024) / SOCKETS]),
    figure("direct call of the backend", "µs", readingsOf(rounds, "direct")),
    figure(`message through the gateway, ${load}`, "µs", readingsOf(rounds, "gateway")),
    figure("overhead of a message, in pairs", "µs", readingsOf(rounds, "overhead")),
  ]);
  for (const one of sockets) one.terminate();
  await agent.close();
  backend.kill();
  gateway.kill();
}

async function runBackend(): Promise<void> {
  const server = createServer((incoming, response) => {
    incoming.resume();
    response.end("ok");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/ws/` });
}

async function runGateway(target: string): Promise<void> {
  const { url } = await startLocalGateway({ target, port: 0 });
  process.on("message", () => {
    globalThis.gc?.();
    process.send?.({ rss: process.memoryUsage.rss() });
  });
  process.send?.({ url });
}

function startChild(...args: string[]): ChildProcess {
  return fork(fileURLToPath(import.meta.url), args, { execArgv: ["--expose-gc"] });
}

async function nextMessage<Message>(child: ChildProcess): Promise<Message> {
  const [message] = (await once(child, "message")) as [Message];
  return message;
}

async function openSocket(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url);
  await once(socket, "open");
  return socket;
}

async function callBackend(agent: Agent, url: string): Promise<void> {
  const { body } = await request(url, { method: "POST", body: "{}", dispatcher: agent });
  await body.text();
}

async function sendMessage(socket: WebSocket): Promise<void> {
  socket.send("{}");
  await once(socket, "message");
}

/** Medians of one round, in microseconds. */
interface Round {
  readonly direct: number;
  readonly gateway: number;
  /** `gateway` minus `direct`, for each pair. */
  readonly overhead: number;
}

async function measureRound(direct: () => Promise<void>, gateway: () => Promise<void>): Promise<Round> {
  const readings: Round[] = [];
  for (let count = 0; count < PAIRS; count++) {
    // The order alternates.
    const isDirectFirst = count % 2 === 0;
    const first = await measureMicroseconds(isDirectFirst ? direct : gateway);
    const second = await measureMicroseconds(isDirectFirst ? gateway : direct);
    const [ofBackend, ofGateway] = isDirectFirst ? [first, second] : [second, first];
    readings.push({ direct: ofBackend, gateway: ofGateway, overhead: ofGateway - ofBackend });
  }
  return {
    direct: median(readingsOf(readings, "direct")),
    gateway: median(readingsOf(readings, "gateway")),
    overhead: median(readingsOf(readings, "overhead")),
  };
}

function readingsOf(rounds: readonly Round[], name: keyof Round): readonly number[] {
  return rounds.map((round) => round[name]);
}

async function measureMicroseconds(call: () => Promise<void>): Promise<number> {
  const startedAt = process.hrtime.bigint();
  await call();
  return Number(process.hrtime.bigint() - startedAt) / 1000;
}
