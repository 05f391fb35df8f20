/**
 * Helpers for tests of the inspector: its requests, and a reader of its event stream.
 */

import { once } from "node:events";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { expect, onTestFinished } from "vitest";
import type { LocalGateway } from "../../src/local/emulator.ts";
import type { EventSummary, FeedMessage } from "../../src/local/inspector/messages.ts";
import { openClient, startBackend, startGateway } from "./rig.ts";

export interface Sent {
  readonly method?: string;
  readonly body?: string | Buffer;
  readonly headers?: Record<string, string>;
  /** The address to connect to. Default 127.0.0.1. */
  readonly address?: string;
}

/** Sends a request to the gateway. Default: a command, as the page sends it. */
export function send(
  gateway: LocalGateway,
  path: string,
  { method = "POST", body = "{}", headers, address = "127.0.0.1" }: Sent = {},
) {
  const own = { "content-type": "application/json", origin: `http://127.0.0.1:${gateway.port}` };
  const request = httpRequest({
    ...{ port: gateway.port, host: address, agent: false, method, path },
    headers: headers ?? own,
  });
  request.on("error", () => {});
  request.end(method === "GET" ? undefined : body);
  return request;
}

/** Sends a request, and returns the whole answer. */
export async function answerOf(gateway: LocalGateway, path: string, sent?: Sent) {
  const [response] = (await once(send(gateway, path, sent), "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, headers: response.headers, text };
}

/** Sends a command of the page, and returns the status and the body of the answer. */
export async function command(gateway: LocalGateway, name: string, input: object = {}) {
  const { status, text } = await answerOf(gateway, `/.inspector/${name}`, { body: JSON.stringify(input) });
  return { status, body: JSON.parse(text) };
}

/** Reads the event stream, as the page does. */
export class Page {
  readonly messages: FeedMessage[] = [];
  isEnded = false;
  readonly #request: ClientRequest;

  constructor(gateway: LocalGateway) {
    this.#request = send(gateway, "/.inspector/events");
    onTestFinished(() => void this.#request.destroy());
    void this.#read();
  }

  get types(): string[] {
    return this.messages.map(({ type }) => type);
  }

  /** The last state of each event. */
  get events(): EventSummary[] {
    const events = new Map<number, EventSummary>();
    for (const message of this.messages) {
      if (message.type === "snapshot") events.clear();
      if (message.type !== "superseded") for (const event of message.events) events.set(event.id, event);
    }
    return [...events.values()];
  }

  async until(isReached: () => boolean): Promise<void> {
    await expect.poll(isReached).toBe(true);
  }

  async #read(): Promise<void> {
    const [response] = (await once(this.#request, "response")) as [IncomingMessage];
    let unread = "";
    try {
      for await (const chunk of response) {
        const parts = (unread + chunk).split("\n\n");
        unread = parts.pop() ?? "";
        for (const part of parts) this.messages.push(JSON.parse(part.slice(6)) as FeedMessage);
      }
    } catch {
      // The test ends the stream.
    }
    this.isEnded = true;
  }
}

/** Opens the event stream, and waits for the snapshot. */
export async function openPage(gateway: LocalGateway): Promise<Page> {
  const page = new Page(gateway);
  await page.until(() => page.messages.length > 0);
  return page;
}

/** Starts a backend and a gateway, and connects a client. */
export async function connected(options = {}, behaviour?: Parameters<typeof startBackend>[0]) {
  const backend = await startBackend(behaviour);
  const gateway = await startGateway(backend, options);
  const client = await openClient(gateway.url);
  const [connectionId = ""] = gateway.connectionIds;
  return { backend, gateway, client, connectionId };
}

export function postPath(id: string): string {
  return `/dev/@connections/${encodeURIComponent(id)}`;
}

/** Posts a message to a connection with the Management API, as a backend does. */
export function post(gateway: LocalGateway, id: string, body: string) {
  return answerOf(gateway, postPath(id), { headers: {}, body });
}
