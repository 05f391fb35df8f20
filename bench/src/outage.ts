import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Sallyport } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { benchApp, connectionOf, openSessions, prepare, SECRET } from "./bench-app.js";
import { startServer, type TestServer } from "./postgres-server.js";
import { TcpProxy } from "./tcp-proxy.js";

/** Connections of the app's pool. */
export const POOL_SIZE = 4;
/** Time between two messages, in milliseconds. */
const MESSAGE_EVERY_MS = 10;

/** One message, and how it was answered. */
export interface Answered {
  /** `performance.now()` of sending and answer. */
  readonly sentAt: number;
  readonly answeredAt: number;
  readonly isOk: boolean;
  /** Whether the answer bears the id of the call. */
  readonly hasId: boolean;
}

/** An app on a PostgreSQL of its own, which it reaches through a proxy, and a client that sends messages. */
export interface OutageRig {
  readonly server: TestServer;
  readonly proxy: TcpProxy;
  readonly app: Sallyport;
  /** How often `onError` was called. */
  readonly errors: { count: number };
  /** Sends a message every 10 ms, whether or not earlier ones are answered, until `stop()`, which returns all of them. */
  messages(): { readonly answers: readonly Answered[]; stop(): Promise<readonly Answered[]> };
  close(): Promise<void>;
}

export async function openRig(): Promise<OutageRig> {
  const server = await startServer();
  const proxy = await TcpProxy.open(new URL(server.url));
  const storage = postgres(proxy.through(server.url), { poolSize: POOL_SIZE });
  const errors = { count: 0 };
  const app = benchApp(storage, { onError: () => void errors.count++ });
  await prepare(app, storage);
  await openSessions(storage, 1, 100);
  const send = async (n: number): Promise<Answered> => {
    const id = randomUUID();
    const sentAt = performance.now();
    const request = new Request("http://here/ws/chat/default", {
      method: "POST",
      headers: { connectionId: connectionOf((n % 100) + 1), "x-sallyport-secret": SECRET },
      body: JSON.stringify({ handler: "ping", id }),
    });
    const response = await app.fetch(request);
    const answer = (await response?.json().catch(() => ({}))) as { id?: string; ok?: boolean };
    return { sentAt, answeredAt: performance.now(), isOk: answer.ok === true, hasId: answer.id === id };
  };
  return {
    server,
    proxy,
    app,
    errors,
    messages() {
      const answers: Answered[] = [];
      let isSending = true;
      const sent: Promise<unknown>[] = [];
      const sending = (async () => {
        for (let n = 0; isSending; n++) {
          sent.push(send(n).then((answer) => answers.push(answer)));
          await sleep(MESSAGE_EVERY_MS);
        }
      })();
      return {
        answers,
        async stop() {
          isSending = false;
          await sending;
          await Promise.all(sent);
          return answers;
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
 * Resolves when messages have been answered well for half a second, or a limit has passed.
 *
 * @returns milliseconds from `since` to the last answer that was not, or to the limit
 */
export async function healthyAfter(
  answers: readonly Answered[],
  since: number,
  limitMs: number,
): Promise<number> {
  for (;;) {
    await sleep(50);
    const now = performance.now();
    if (now - since > limitMs) return limitMs;
    const recent = answers.filter(({ answeredAt }) => answeredAt > since && answeredAt > now - 500);
    if (recent.length < 10 || now - since < 500 || recent.some(({ isOk }) => !isOk)) continue;
    // Messages that are sent now are answered at once, too.
    if (!recent.some(({ sentAt }) => sentAt > now - 250)) continue;
    const bad = answers.filter(({ answeredAt, isOk }) => answeredAt > since && !isOk);
    const first = answers.find(({ sentAt, isOk }) => sentAt > since && isOk);
    return Math.max(0, (bad.at(-1)?.answeredAt ?? first?.answeredAt ?? now) - since);
  }
}
