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

/** The header that identifies the user of a token request. */
const USER_HEADER = "x-bench-user";
/** Number of sockets that connect at the same time. */
const BATCH_SIZE = 50;

/** Sockets in one channel. */
interface Group {
  readonly name: string;
  readonly channel: string;
  readonly sockets: number;
  /** Whether all sockets belong to one user. Default: each socket belongs to a different user. */
  readonly isOneUser?: boolean;
}

/** The calls that the sockets of a group send. */
interface CallLoad {
  readonly group: string;
  readonly handler: string;
  /** Number of calls per second of each socket. */
  readonly perSecond: number;
  readonly durationMs: number;
}

/** The frames and responses that the sockets of a group received. */
export interface Received {
  /** Times from a call of `send()` until a client received the frame, in milliseconds. */
  readonly latencies: readonly number[];
  /** Times from a call until its response with status 200, in milliseconds. */
  readonly callTimes: readonly number[];
  /** Number of responses by status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Number of open sockets. */
  readonly open: number;
}

type Command =
  | { readonly do: "connect"; readonly group: Group }
  | { readonly do: "stop reading"; readonly group: string }
  | { readonly do: "send calls"; readonly load: CallLoad }
  | { readonly do: "take"; readonly group: string };

/** Returns a frame with the current time, in epoch milliseconds. */
export const timestampedFrame = () => ({ type: "said", at: epochMs() });

function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Returns the 95th percentile of the readings. */
export function p95(readings: readonly number[]): number {
  const sorted = [...readings].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * 0.95) - 1)] ?? Number.NaN;
}

/** An app in this process, and a local gateway with its clients in a child process. */
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
        if (connection.channel) await to({ channel: connection.channel }).send(timestampedFrame());
      });
    }
    const app = benchApp(sqlite(join(folder, "bench.db")), {
      views: { "/ws/chat": ChatView },
      authenticate: (request) => {
        const userId = request.headers.get(USER_HEADER);
        return userId === null ? null : { userId };
      },
    });
    await app.migrate();
    await app.access.grant({ group: "Members" }, chat.use);
    const server = createServer(nodeListener(app));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    const secret = gatewaySecret();
    const child = fork(fileURLToPath(import.meta.url), [
      "gateway-process",
      `http://127.0.0.1:${port}`,
      secret,
    ]);
    const { apiId, endpoint } = (await nextMessage(child)) as { apiId: string; endpoint: string };
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
    for (const user of users) await this.app.access.users.addToGroup(user, "Members");
    await this.#command({ do: "connect", group });
  }

  /** Makes the sockets of a group stop reading. */
  async stopReading(group: string): Promise<void> {
    await this.#command({ do: "stop reading", group });
  }

  /** Makes the sockets of a group call a handler. Resolves when the last call was sent. */
  async sendCalls(load: CallLoad): Promise<void> {
    await this.#command({ do: "send calls", load });
  }

  /** Returns the frames and responses that a group received since the last call. */
  async takeReceived(group: string): Promise<Received> {
    return (await this.#command({ do: "take", group })) as Received;
  }

  close(): Promise<void> {
    return this.#close();
  }

  #command(command: Command): Promise<unknown> {
    // Several commands can be in progress at the same time.
    const id = ++lastCommandId;
    this.#child.send({ id, command });
    return new Promise((resolve) => {
      const onMessage = (message: { readonly id?: number; readonly result?: unknown }) => {
        if (message.id !== id) return;
        this.#child.off("message", onMessage);
        resolve(message.result);
      };
      this.#child.on("message", onMessage);
    });
  }
}

let lastCommandId = 0;

function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once("message", resolve));
}

function usersOf({ name, sockets }: Group): readonly string[] {
  return Array.from({ length: sockets }, (_, n) => `${name}-${n}`);
}

interface Client {
  readonly socket: WebSocket;
  readonly calls: Map<number, { readonly at: number; readonly onResult?: (result: unknown) => void }>;
}

/** The sockets of a group, in the child process. */
class Clients {
  readonly clients: Client[] = [];
  latencies: number[] = [];
  callTimes: number[] = [];
  statuses: Record<string, number> = {};
  #calls = 0;

  add(socket: WebSocket): Client {
    const client: Client = { socket, calls: new Map() };
    this.clients.push(client);
    socket.on("error", () => undefined);
    socket.on("message", (data) => this.#receive(client, JSON.parse(data.toString())));
    return client;
  }

  call(client: Client, name: string, onResult?: (result: unknown) => void): void {
    if (client.socket.readyState !== WebSocket.OPEN) return;
    const id = ++this.#calls;
    client.calls.set(id, { at: performance.now(), ...(onResult && { onResult }) });
    client.socket.send(JSON.stringify({ handler: name, id }));
  }

  take(): Received {
    const { latencies, callTimes, statuses } = this;
    [this.latencies, this.callTimes, this.statuses] = [[], [], {}];
    const open = this.clients.filter(({ socket }) => socket.readyState === WebSocket.OPEN).length;
    return { latencies, callTimes, statuses, open };
  }

  #receive(client: Client, frame: { at?: number; id?: number; status?: number; result?: unknown }): void {
    if (frame.at !== undefined) this.latencies.push(epochMs() - frame.at);
    const call = frame.id === undefined ? undefined : client.calls.get(frame.id);
    if (!call || frame.id === undefined) return;
    client.calls.delete(frame.id);
    const status = String(frame.status);
    this.statuses[status] = (this.statuses[status] ?? 0) + 1;
    if (status === "200") this.callTimes.push(performance.now() - call.at);
    call.onResult?.(frame.result);
  }
}

/** Runs the local gateway and the sockets. */
async function runGatewayProcess(appUrl: string, secret: string): Promise<void> {
  const gateway = await startLocalGateway({ target: `${appUrl}/ws/chat/`, port: 0, secret });
  const groups = new Map<string, Clients>();
  const clientsOf = (name: string) => {
    const clients = groups.get(name) ?? new Clients();
    groups.set(name, clients);
    return clients;
  };
  const open = async (group: Group, user: string) => {
    const headers = { [USER_HEADER]: user };
    const response = await fetch(`${appUrl}/api/ws-token`, { method: "POST", headers });
    const { token } = (await response.json()) as { token: string };
    const channel = encodeURIComponent(group.channel);
    const socket = new WebSocket(`${gateway.url}?ws_token=${token}&channel=${channel}`, { headers });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    clientsOf(group.name).add(socket);
  };
  const run = async (command: Command): Promise<unknown> => {
    if (command.do === "take") return clientsOf(command.group).take();
    if (command.do === "connect") {
      const users = usersOf(command.group).map((user) =>
        command.group.isOneUser ? command.group.name : user,
      );
      for (let from = 0; from < users.length; from += BATCH_SIZE) {
        const batch = users.slice(from, from + BATCH_SIZE);
        await Promise.all(batch.map((user) => open(command.group, user)));
      }
      return undefined;
    }
    if (command.do === "stop reading") {
      const group = clientsOf(command.group);
      const ids = group.clients.map(
        (client) => new Promise((resolve) => group.call(client, "whoami", resolve)),
      );
      for (const id of await Promise.all(ids)) gateway.impair(String(id), "not-reading");
      return undefined;
    }
    const { group, handler: name, perSecond, durationMs } = command.load;
    const senders = clientsOf(group);
    const until = performance.now() + durationMs;
    for (let due = performance.now(); due < until; due += 1000 / perSecond) {
      await sleep(Math.max(0, due - performance.now()));
      for (const client of senders.clients) senders.call(client, name);
    }
    return undefined;
  };
  process.on("message", async ({ id, command }: { id: number; command: Command }) => {
    process.send?.({ id, result: await run(command) });
  });
  process.on("disconnect", () => process.exit());
  process.send?.({ apiId: gateway.apiId, endpoint: gateway.endpoint });
}

if (process.argv[2] === "gateway-process")
  await runGatewayProcess(process.argv[3] as string, process.argv[4] as string);
