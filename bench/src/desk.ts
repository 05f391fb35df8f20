import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { startLocalGateway } from "sallyport/local";
import { Agent, request } from "undici";
import WebSocket from "ws";
import { figure, print } from "./figures.js";
import { median } from "./pairs.js";

/**
 * `npm run bench:desk`: what the local gateway takes. Gateway, backend and clients are processes of their own.
 *
 * A message by a socket and a call of the backend itself are made in pairs, so that whatever the machine does meanwhile happens to both; the
 * overhead is the median of their differences.
 */
const SOCKETS = Number(process.env.SOCKETS ?? 10_000);
const AT_ONCE = 100;
const ROUNDS = 5;
const PAIRS = 2000;
const MIB = 2 ** 20;

const [role, target = ""] = process.argv.slice(2);
if (role === "backend") await backend();
else if (role === "gateway") await gateway(target);
else await measure();

async function measure(): Promise<void> {
  const behind = child("backend");
  const { url: backendUrl } = await told<{ url: string }>(behind);
  const desk = child("gateway", backendUrl);
  const { url } = await told<{ url: string }>(desk);

  const memory = () => {
    const answer = told<{ rss: number }>(desk);
    desk.send("memory");
    return answer.then(({ rss }) => rss / MIB);
  };
  const before = await memory();
  const sockets: WebSocket[] = [];
  while (sockets.length < SOCKETS) {
    const few = Array.from({ length: Math.min(AT_ONCE, SOCKETS - sockets.length) }, () => opened(url));
    sockets.push(...(await Promise.all(few)));
  }
  const after = await memory();

  const agent = new Agent();
  const [socket] = sockets;
  const rounds: Round[] = [];
  for (let round = -1; round < ROUNDS; round++) {
    const measured = await paired(
      () => posted(agent, `${backendUrl}default`),
      () => answered(socket as WebSocket),
    );
    if (round >= 0) rounds.push(measured);
  }
  const size = `with ${SOCKETS} idle sockets`;
  print([
    figure(`memory of the gateway's process, ${size}`, "MiB", [after], 400),
    figure("of that, before the first socket", "MiB", [before]),
    figure("growth by the sockets", "MiB", [after - before]),
    figure("growth by a socket", "KiB", [((after - before) * 1024) / SOCKETS]),
    figure("a call of the backend, without the gateway", "µs", of(rounds, "direct")),
    figure(`a message by a socket, ${size}`, "µs", of(rounds, "through")),
    figure("overhead of a message, in pairs", "µs", of(rounds, "overhead")),
  ]);
  for (const one of sockets) one.terminate();
  await agent.close();
  behind.kill();
  desk.kill();
}

async function backend(): Promise<void> {
  const server = createServer((incoming, response) => {
    incoming.resume();
    response.end("ok");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/ws/` });
}

async function gateway(target: string): Promise<void> {
  const { url } = await startLocalGateway({ target, port: 0 });
  process.on("message", () => {
    globalThis.gc?.();
    process.send?.({ rss: process.memoryUsage.rss() });
  });
  process.send?.({ url });
}

function child(...args: string[]): ChildProcess {
  return fork(fileURLToPath(import.meta.url), args, { execArgv: ["--expose-gc"] });
}

async function told<Message>(of: ChildProcess): Promise<Message> {
  const [message] = (await once(of, "message")) as [Message];
  return message;
}

async function opened(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url);
  await once(socket, "open");
  return socket;
}

async function posted(agent: Agent, url: string): Promise<void> {
  const { body } = await request(url, { method: "POST", body: "{}", dispatcher: agent });
  await body.text();
}

async function answered(socket: WebSocket): Promise<void> {
  socket.send("{}");
  await once(socket, "message");
}

/** Medians of one round, in microseconds. */
interface Round {
  readonly direct: number;
  readonly through: number;
  readonly overhead: number;
}

async function paired(direct: () => Promise<void>, through: () => Promise<void>): Promise<Round> {
  const readings: Round[] = [];
  for (let count = 0; count < PAIRS; count++) {
    // Each goes first every other time.
    const isFirst = count % 2 === 0;
    const first = await micros(isFirst ? direct : through);
    const second = await micros(isFirst ? through : direct);
    const [ofBackend, ofGateway] = isFirst ? [first, second] : [second, first];
    readings.push({ direct: ofBackend, through: ofGateway, overhead: ofGateway - ofBackend });
  }
  return {
    direct: median(of(readings, "direct")),
    through: median(of(readings, "through")),
    overhead: median(of(readings, "overhead")),
  };
}

function of(rounds: readonly Round[], name: keyof Round): readonly number[] {
  return rounds.map((round) => round[name]);
}

async function micros(call: () => Promise<void>): Promise<number> {
  const begun = process.hrtime.bigint();
  await call();
  return Number(process.hrtime.bigint() - begun) / 1000;
}
