import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Dispatcher, Pool } from "undici";
import { Signer } from "../../build/delivery/sigv4.js";
import { benchApp, connectionIdAt, insertConnections, prepareDatabase } from "./bench-app.js";
import { type Comparison, compare } from "./comparison.js";
import { sqliteDatabase } from "./database.js";

export const CONCURRENCY = 256;
export const CREDENTIALS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
export const REGION = "eu-west-1";
export const MESSAGE = { type: "news", text: "x".repeat(100) };

/** In a child process: a Management API with a fixed latency, in milliseconds. */
if (process.argv[2] === "management-api") {
  const latency = Number(process.argv[3]);
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      if (latency === 0) response.end();
      else setTimeout(() => response.end(), latency);
    });
  });
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
}

export const SIZES = [1000, 10_000];
export const LATENCIES = [0, 5, 20];

/**
 * Measures a send, in messages per second. The baseline is a client that only signs and posts, with
 * the same concurrency.
 *
 * @param sizes numbers of recipients. Default 1 000 and 10 000
 * @param latencies latencies of the Management API, in milliseconds. Default 0, 5 and 20
 */
export async function fanout(sizes = SIZES, latencies = LATENCIES): Promise<readonly Comparison[]> {
  const rows: Comparison[] = [];
  for (const latency of latencies) {
    const gateway = await startManagementApi(latency);
    for (const size of sizes) {
      const sallyport = await sallyportSender(gateway.endpoint, size);
      const baseline = bareSender(gateway.endpoint, size);
      rows.push(
        await compare(
          `fanout-${size}-${latency}ms`,
          "messages/s",
          { sallyport: sallyport.send, baseline: baseline.send },
          { goal: { min: latency === 0 ? 0.85 : 0.8 } },
        ),
      );
      await sallyport.close();
      await baseline.close();
    }
    gateway.child.kill();
  }
  return rows;
}

/**
 * Starts a Management API in a child process.
 *
 * @param latency time until it returns a response, in milliseconds
 */
export async function startManagementApi(
  latency: number,
): Promise<{ child: ChildProcess; endpoint: string }> {
  const child = fork(fileURLToPath(import.meta.url), ["management-api", String(latency)]);
  const port = await new Promise((resolve) => child.once("message", resolve));
  return { child, endpoint: `http://127.0.0.1:${port}/dev` };
}

interface Sender {
  /** Sends one message to all recipients. Returns messages per second. */
  send(): Promise<number>;
  close(): Promise<void>;
}

/** Creates an app with connections in SQLite, which sends to all of them. */
export async function sallyportSender(endpoint: string, size: number): Promise<Sender> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const storage = sqliteDatabase(join(folder, "bench.db"));
  const app = benchApp(storage, {
    apiGateway: {
      maxRequestsPerSecond: false,
      concurrency: CONCURRENCY,
      credentials: CREDENTIALS,
      region: REGION,
    },
  });
  await prepareDatabase(app, storage, endpoint);
  await insertConnections(storage, 1, size);
  return {
    send: async () => {
      const startedAt = performance.now();
      const { sent } = await app.to({ channel: "rooms/all" }).send(MESSAGE);
      if (sent !== size) throw new Error(`Only ${sent} of ${size} messages were sent.`);
      return size / ((performance.now() - startedAt) / 1000);
    },
    close: async () => {
      await app.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/**
 * Creates a client that only signs and posts. It keeps the connection ids in memory and creates no
 * object for a response.
 */
export function bareSender(endpoint: string, size: number): Sender {
  const { origin, host, pathname } = new URL(endpoint);
  const pool = new Pool(origin, { connections: CONCURRENCY });
  const signer = new Signer(REGION, CREDENTIALS);
  const body = JSON.stringify(MESSAGE);
  const ids = Array.from({ length: size }, (_, n) => encodeURIComponent(connectionIdAt(n + 1)));
  const post = (id: string, onDone: (error?: Error) => void) => {
    const path = `${pathname}/@connections/${id}`;
    const headers = signer.sign(
      { method: "POST", host, path, body, contentType: "application/json" },
      Date.now(),
    );
    pool.dispatch({ method: "POST", path, headers, body }, new ResponseHandler(onDone));
  };
  return {
    send: () =>
      new Promise((resolve, reject) => {
        const startedAt = performance.now();
        let [next, done] = [0, 0];
        const onResponse = (error?: Error) => {
          if (error) reject(error);
          if (++done === size) resolve(size / ((performance.now() - startedAt) / 1000));
          else if (next < size) post(ids[next++] as string, onResponse);
        };
        while (next < Math.min(CONCURRENCY, size)) post(ids[next++] as string, onResponse);
      }),
    close: () => pool.destroy(),
  };
}

class ResponseHandler implements Dispatcher.DispatchHandler {
  readonly #onDone: (error?: Error) => void;
  constructor(onDone: (error?: Error) => void) {
    this.#onDone = onDone;
  }
  onRequestStart(): void {}
  onResponseStart(_controller: unknown, status: number): void {
    if (status !== 200) this.#onDone(new Error(`The Management API returned status ${status}.`));
  }
  onResponseData(): void {}
  onResponseEnd(): void {
    this.#onDone();
  }
  onResponseError(_controller: unknown, error: Error): void {
    this.#onDone(error);
  }
}
