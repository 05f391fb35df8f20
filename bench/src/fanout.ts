import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sqlite } from "sallyport/storage/sqlite";
import { type Dispatcher, Pool } from "undici";
import { Signer } from "../../build/delivery/sigv4.js";
import { benchApp, connectionOf, openSessions, prepare } from "./bench-app.js";
import { pair, type Row } from "./pairs.js";

export const CONCURRENCY = 256;
export const CREDENTIALS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
export const REGION = "eu-west-1";
export const MESSAGE = { type: "news", text: "x".repeat(100) };

/** A Management API that answers after so many milliseconds, in a process of its own. */
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

/** A send to so many, against the fastest client that signs and posts and does nothing else, at the same concurrency. */
export async function fanout(sizes = SIZES, latencies = LATENCIES): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const latency of latencies) {
    const gateway = await startManagementApi(latency);
    for (const size of sizes) {
      const ours = await ourSend(gateway.endpoint, size);
      const floor = bareSend(gateway.endpoint, size);
      rows.push(
        await pair(
          `fanout-${size}-${latency}ms`,
          "messages/s",
          { ours: ours.send, floor: floor.send },
          { promise: { least: latency === 0 ? 0.85 : 0.8 } },
        ),
      );
      await ours.close();
      await floor.close();
    }
    gateway.child.kill();
  }
  return rows;
}

export async function startManagementApi(
  latency: number,
): Promise<{ child: ChildProcess; endpoint: string }> {
  const child = fork(fileURLToPath(import.meta.url), ["management-api", String(latency)]);
  const port = await new Promise((resolve) => child.once("message", resolve));
  return { child, endpoint: `http://127.0.0.1:${port}/dev` };
}

/** Gives messages a second. */
interface Sender {
  send(): Promise<number>;
  close(): Promise<void>;
}

async function ourSend(endpoint: string, size: number): Promise<Sender> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const storage = sqlite(join(folder, "bench.db"));
  const app = benchApp(storage, {
    apiGateway: {
      maxRequestsPerSecond: false,
      concurrency: CONCURRENCY,
      credentials: CREDENTIALS,
      region: REGION,
    },
  });
  await prepare(app, storage, endpoint);
  await openSessions(storage, 1, size);
  return {
    send: async () => {
      const begun = performance.now();
      const { sent } = await app.to({ channel: "rooms/all" }).send(MESSAGE);
      if (sent !== size) throw new Error(`only ${sent} of ${size} were sent`);
      return size / ((performance.now() - begun) / 1000);
    },
    close: async () => {
      await app.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Ids in memory, one hash for the body, the day's key kept, no object for an answer. */
export function bareSend(endpoint: string, size: number): Sender {
  const { origin, host, pathname } = new URL(endpoint);
  const pool = new Pool(origin, { connections: CONCURRENCY });
  const signer = new Signer(REGION, CREDENTIALS);
  const body = JSON.stringify(MESSAGE);
  const ids = Array.from({ length: size }, (_, n) => encodeURIComponent(connectionOf(n + 1)));
  const post = (id: string, done: (error?: Error) => void) => {
    const path = `${pathname}/@connections/${id}`;
    const headers = signer.sign(
      { method: "POST", host, path, body, contentType: "application/json" },
      Date.now(),
    );
    pool.dispatch({ method: "POST", path, headers, body }, new Answered(done));
  };
  return {
    send: () =>
      new Promise((resolve, reject) => {
        const begun = performance.now();
        let [next, done] = [0, 0];
        const go = (error?: Error) => {
          if (error) reject(error);
          if (++done === size) resolve(size / ((performance.now() - begun) / 1000));
          else if (next < size) post(ids[next++] as string, go);
        };
        while (next < Math.min(CONCURRENCY, size)) post(ids[next++] as string, go);
      }),
    close: () => pool.destroy(),
  };
}

class Answered implements Dispatcher.DispatchHandler {
  readonly #done: (error?: Error) => void;
  constructor(done: (error?: Error) => void) {
    this.#done = done;
  }
  onRequestStart(): void {}
  onResponseStart(_controller: unknown, status: number): void {
    if (status !== 200) this.#done(new Error(`status ${status}`));
  }
  onResponseData(): void {}
  onResponseEnd(): void {
    this.#done();
  }
  onResponseError(_controller: unknown, error: Error): void {
    this.#done(error);
  }
}
