import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Sallyport } from "sallyport";
import { benchApp, connectionIdAt, insertConnections, prepareDatabase, SECRET } from "./bench-app.js";
import { postgresDatabase } from "./database.js";
import { startServer, type TestServer } from "./postgres-server.js";
import { TcpProxy } from "./tcp-proxy.js";

/** Maximum number of connections in the pool of the app. */
export const POOL_SIZE = 4;
/** Time between two messages, in milliseconds. */
const MESSAGE_INTERVAL_MS = 10;

/** The response to one message. */
export interface MessageResponse {
  /** Times of `performance.now()`. */
  readonly sentAt: number;
  readonly receivedAt: number;
  readonly isOk: boolean;
  /** Whether the response contains the id of the call. */
  readonly hasId: boolean;
}

/** An app with its own PostgreSQL server behind a proxy. */
export interface OutageTest {
  readonly server: TestServer;
  readonly proxy: TcpProxy;
  readonly app: Sallyport;
  /** Number of calls of `onError`. */
  readonly errors: { count: number };
  /**
   * Starts to send a message every 10 ms, without waiting for responses. `stop()` waits for the
   * remaining responses and returns all of them.
   */
  sendMessages(): {
    readonly responses: readonly MessageResponse[];
    stop(): Promise<readonly MessageResponse[]>;
  };
  close(): Promise<void>;
}

/** Starts an app for a scenario in which its database fails. */
export async function startOutageTest(): Promise<OutageTest> {
  const server = await startServer();
  const proxy = await TcpProxy.open(new URL(server.url));
  const storage = postgresDatabase(proxy.through(server.url), { poolSize: POOL_SIZE });
  const errors = { count: 0 };
  const app = benchApp(storage, { onError: () => void errors.count++ });
  await prepareDatabase(app, storage);
  await insertConnections(storage, 1, 100);
  const send = async (n: number): Promise<MessageResponse> => {
    const id = randomUUID();
    const sentAt = performance.now();
    const request = new Request("http://bench/ws/chat/default", {
      method: "POST",
      headers: { connectionId: connectionIdAt((n % 100) + 1), "x-sallyport-secret": SECRET },
      body: JSON.stringify({ handler: "ping", id }),
    });
    const response = await app.fetch(request);
    const body = (await response?.json().catch(() => ({}))) as { id?: string; ok?: boolean };
    return { sentAt, receivedAt: performance.now(), isOk: body.ok === true, hasId: body.id === id };
  };
  return {
    server,
    proxy,
    app,
    errors,
    sendMessages() {
      const responses: MessageResponse[] = [];
      let isSending = true;
      const sent: Promise<unknown>[] = [];
      const sending = (async () => {
        for (let n = 0; isSending; n++) {
          sent.push(send(n).then((received) => responses.push(received)));
          await sleep(MESSAGE_INTERVAL_MS);
        }
      })();
      return {
        responses,
        async stop() {
          isSending = false;
          await sending;
          await Promise.all(sent);
          return responses;
        },
      };
    },
    async close() {
      await app.close();
      await proxy.close();
      await server.stop();
    },
  };
}

/**
 * Waits until all messages have succeeded for half a second.
 *
 * @param since a time of `performance.now()`
 * @param limitMs maximum waiting time, in milliseconds
 * @returns milliseconds from `since` to the last failed response, or `limitMs` at the limit
 */
export async function waitUntilHealthy(
  responses: readonly MessageResponse[],
  since: number,
  limitMs: number,
): Promise<number> {
  for (;;) {
    await sleep(50);
    const now = performance.now();
    if (now - since > limitMs) return limitMs;
    const recent = responses.filter(({ receivedAt }) => receivedAt > since && receivedAt > now - 500);
    if (recent.length < 10 || now - since < 500 || recent.some(({ isOk }) => !isOk)) continue;
    // The recent responses must include one to a recent message.
    if (!recent.some(({ sentAt }) => sentAt > now - 250)) continue;
    const failed = responses.filter(({ receivedAt, isOk }) => receivedAt > since && !isOk);
    const first = responses.find(({ sentAt, isOk }) => sentAt > since && isOk);
    return Math.max(0, (failed.at(-1)?.receivedAt ?? first?.receivedAt ?? now) - since);
  }
}
