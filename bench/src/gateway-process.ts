import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { handler, type Sallyport, WebSocketView } from "sallyport";
import { nodeListener } from "sallyport/adapters/node";
import { gatewaySecret } from "sallyport/aws";
import { startLocalGateway } from "sallyport/local";
import { sqlite } from "sallyport/storage/sqlite";
import WebSocket from "ws";
import { benchApp, chat } from "./bench-app.js";

/** The header by which the app recognizes the user of a token request. */
const LOGIN = "x-bench-user";
/** How many sockets connect at the same time. */
const CONNECTS_AT_ONCE = 50;

/** Sockets of one user, each in one channel. */
interface Group {
  readonly name: string;
  readonly channel: string;
  readonly sockets: number;
  /** All of them belong to one user. Default: each belongs to a user of its own. */
  readonly isOneUser?: boolean;
}

/** The messages that the sockets of a group send. */
interface Talk {
  readonly group: string;
  readonly handler: string;
  /** Of each socket. */
  readonly perSecond: number;
  readonly ms: number;
}

/** What the sockets of a group received, and what became of their calls. */
export interface Received {
  /** From the call of `send()` to the arrival of the frame, in milliseconds. */
  readonly latencies: readonly number[];
  /** From a call to its answer, in milliseconds. */
  readonly answers: readonly number[];
  /** Number of answers by status. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly open: number;
}

type Order =
  | { readonly do: "connect"; readonly group: Group }
  | { readonly do: "impair"; readonly group: string }
  | { readonly do: "talk"; readonly talk: Talk }
  | { readonly do: "take"; readonly group: string };

/** A frame with the time at which it was sent, in epoch milliseconds. */
export const stamped = () => ({ type: "said", at: epochMs() });

function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

/** The reading below which 95 of 100 are. */
export function p95(readings: readonly number[]): number {
  const sorted = [...readings].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * 0.95) - 1)] ?? Number.NaN;
}

/** An app in this process, and a local gateway with its clients in another one. */
export class GatewayProcess {
  readonly app: Sallyport;
  readonly #child: ChildProcess;
  readonly #close: () => Promise<void>;

  private constructor(app: Sallyport, child: ChildProcess, close: () => Promise<void>) {
    this.app = app;
    this.#child = child;
    this.#close = close;
  }

  static async start(): Promise<GatewayProcess> {
    const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
    class ChatView extends WebSocketView {
      static permissionsRequired = [chat.use];
      ping = handler(() => "pong");
      whoami = handler(({ connection }) => connection.connectionId);
      say = handler(async ({ connection, to }) => {
        if (connection.channel) await to({ channel: connection.channel }).send(stamped());
      });
    }
    const app = benchApp(sqlite(join(folder, "bench.db")), {
      views: { "/ws/chat": ChatView },
      authenticate: (request) => {
        const userId = request.headers.get(LOGIN);
        return userId === null ? null : { userId };
      },
    });
    await app.migrate();
    await app.access.grant({ group: "Crew" }, chat.use);
    const server = createServer(nodeListener(app));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    const secret = gatewaySecret();
    const child = fork(fileURLToPath(import.meta.url), [
      "gateway-process",
      `http://127.0.0.1:${port}`,
      secret,
    ]);
    const { apiId, endpoint } = (await reply(child)) as { apiId: string; endpoint: string };
    await app.registerGateway({ name: "bench", apiId, endpoint, secret });
    return new GatewayProcess(app, child, async () => {
      child.kill("SIGKILL");
      server.closeAllConnections();
      server.close();
      await app.close();
      await rm(folder, { recursive: true, force: true });
    });
  }

  async connect(group: Group): Promise<void> {
    const users = group.isOneUser ? [group.name] : usersOf(group);
    for (const user of users) await this.app.access.users.addToGroup(user, "Crew");
    await this.#order({ do: "connect", group });
  }

  /** From now on no socket of a group reads. */
  async stopReading(group: string): Promise<void> {
    await this.#order({ do: "impair", group });
  }

  /** Lets the sockets of a group call a handler. Resolves when the last call was made. */
  async talk(talk: Talk): Promise<void> {
    await this.#order({ do: "talk", talk });
  }

  /** Returns what a group received since the call before. */
  async take(group: string): Promise<Received> {
    return (await this.#order({ do: "take", group })) as Received;
  }

  close(): Promise<void> {
    return this.#close();
  }

  #order(order: Order): Promise<unknown> {
    // Several orders can be in progress, so each has a number.
    const id = ++orders;
    this.#child.send({ id, order });
    return new Promise((resolve) => {
      const look = (message: { readonly id?: number; readonly result?: unknown }) => {
        if (message.id !== id) return;
        this.#child.off("message", look);
        resolve(message.result);
      };
      this.#child.on("message", look);
    });
  }
}

let orders = 0;

function reply(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once("message", resolve));
}

function usersOf({ name, sockets }: Group): readonly string[] {
  return Array.from({ length: sockets }, (_, n) => `${name}-${n}`);
}

interface Client {
  readonly socket: WebSocket;
  readonly calls: Map<number, { readonly at: number; readonly answered?: (result: unknown) => void }>;
}

/** The sockets of a group in the other process. */
class Clients {
  readonly clients: Client[] = [];
  latencies: number[] = [];
  answers: number[] = [];
  statuses: Record<string, number> = {};
  #calls = 0;

  add(socket: WebSocket): Client {
    const client: Client = { socket, calls: new Map() };
    this.clients.push(client);
    socket.on("error", () => undefined);
    socket.on("message", (data) => this.#receive(client, JSON.parse(data.toString())));
    return client;
  }

  call(client: Client, name: string, answered?: (result: unknown) => void): void {
    if (client.socket.readyState !== WebSocket.OPEN) return;
    const id = ++this.#calls;
    client.calls.set(id, { at: performance.now(), ...(answered && { answered }) });
    client.socket.send(JSON.stringify({ handler: name, id }));
  }

  take(): Received {
    const { latencies, answers, statuses } = this;
    [this.latencies, this.answers, this.statuses] = [[], [], {}];
    const open = this.clients.filter(({ socket }) => socket.readyState === WebSocket.OPEN).length;
    return { latencies, answers, statuses, open };
  }

  #receive(client: Client, frame: { at?: number; id?: number; status?: number; result?: unknown }): void {
    if (frame.at !== undefined) this.latencies.push(epochMs() - frame.at);
    const call = frame.id === undefined ? undefined : client.calls.get(frame.id);
    if (!call || frame.id === undefined) return;
    client.calls.delete(frame.id);
    const status = String(frame.status);
    this.statuses[status] = (this.statuses[status] ?? 0) + 1;
    if (status === "200") this.answers.push(performance.now() - call.at);
    call.answered?.(frame.result);
  }
}

/** The gateway and the sockets. */
async function gatewayProcess(appUrl: string, secret: string): Promise<void> {
  const gateway = await startLocalGateway({ target: `${appUrl}/ws/chat/`, port: 0, secret });
  const groups = new Map<string, Clients>();
  const clientsOf = (name: string) => {
    const clients = groups.get(name) ?? new Clients();
    groups.set(name, clients);
    return clients;
  };
  const open = async (group: Group, user: string) => {
    const headers = { [LOGIN]: user };
    const response = await fetch(`${appUrl}/api/ws-token`, { method: "POST", headers });
    const { token } = (await response.json()) as { token: string };
    const channel = encodeURIComponent(group.channel);
    const socket = new WebSocket(`${gateway.url}?ws_token=${token}&channel=${channel}`, { headers });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    clientsOf(group.name).add(socket);
  };
  const run = async (order: Order): Promise<unknown> => {
    if (order.do === "take") return clientsOf(order.group).take();
    if (order.do === "connect") {
      const users = usersOf(order.group).map((user) => (order.group.isOneUser ? order.group.name : user));
      for (let from = 0; from < users.length; from += CONNECTS_AT_ONCE) {
        const some = users.slice(from, from + CONNECTS_AT_ONCE);
        await Promise.all(some.map((user) => open(order.group, user)));
      }
      return undefined;
    }
    if (order.do === "impair") {
      const group = clientsOf(order.group);
      const ids = group.clients.map(
        (client) => new Promise((resolve) => group.call(client, "whoami", resolve)),
      );
      for (const id of await Promise.all(ids)) gateway.impair(String(id), "not-reading");
      return undefined;
    }
    const { group, handler: name, perSecond, ms } = order.talk;
    const talkers = clientsOf(group);
    const until = performance.now() + ms;
    for (let due = performance.now(); due < until; due += 1000 / perSecond) {
      await sleep(Math.max(0, due - performance.now()));
      for (const client of talkers.clients) talkers.call(client, name);
    }
    return undefined;
  };
  process.on("message", async ({ id, order }: { id: number; order: Order }) => {
    process.send?.({ id, result: await run(order) });
  });
  process.on("disconnect", () => process.exit());
  process.send?.({ apiId: gateway.apiId, endpoint: gateway.endpoint });
}

if (process.argv[2] === "gateway-process")
  await gatewayProcess(process.argv[3] as string, process.argv[4] as string);
