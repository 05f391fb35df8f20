import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { startLocalGateway } from "sallyport/local";
import WebSocket from "ws";
import { type Figure, figure } from "../figures.js";

const MESSAGES = 600;
/** Time after which the backend closes an idle connection, in milliseconds. */
const IDLE_MS = 10;
/** Time between two messages, in milliseconds. It is close to the time of the close. */
const INTERVAL_MS = { min: 10, max: 13 };
/** Maximum time to wait for the last responses, in milliseconds. */
const LAST_RESPONSES_MS = 2_000;

/**
 * Measures the percentage of messages that succeed through the local gateway while the backend
 * closes idle connections without notice.
 */
export async function keepAliveGateway(): Promise<readonly Figure[]> {
  const receivedCounts = new Map<string, number>();
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => undefined).on("close", () => open.delete(socket));
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
      const end = text.indexOf("\r\n\r\n");
      const length = Number(/content-length: (\d+)/i.exec(text.slice(0, end))?.[1] ?? 0);
      if (end < 0 || text.length < end + 4 + length) return;
      const body = text.slice(end + 4);
      text = "";
      if (body !== "") receivedCounts.set(body, (receivedCounts.get(body) ?? 0) + 1);
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      setTimeout(() => socket.destroy(), IDLE_MS);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const target = `http://127.0.0.1:${(server.address() as AddressInfo).port}/ws/`;
  const gateway = await startLocalGateway({ target, port: 0, onError: () => undefined });
  const client = new WebSocket(gateway.url);
  await once(client, "open");
  let succeeded = 0;
  let failed = 0;
  client.on("message", (data) => {
    if (String(data).includes("requestId")) failed++;
    else succeeded++;
  });
  for (let n = 0; n < MESSAGES; n++) {
    client.send(JSON.stringify({ n }));
    await sleep(INTERVAL_MS.min + Math.random() * (INTERVAL_MS.max - INTERVAL_MS.min));
  }
  const until = performance.now() + LAST_RESPONSES_MS;
  while (succeeded + failed < MESSAGES && performance.now() < until) await sleep(10);
  client.terminate();
  await gateway.close();
  for (const socket of open) socket.destroy();
  server.close();
  const twice = [...receivedCounts.values()].filter((times) => times > 1).length;
  return [
    figure("messages that succeed while the backend closes idle connections", "%", [
      (100 * succeeded) / MESSAGES,
    ]),
    figure("messages that the backend received twice", "messages", [twice], 0),
  ];
}
