import { INTEGRATION_TIMEOUT_MS, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES } from "../../../src/protocol/quotas.ts";
import type { Check, Observation } from "../check.ts";
import type { Probe } from "../function/probe.ts";
import { PROBE_ROUTE } from "../names.ts";
import { stopwatch, within } from "../timing.ts";

/** Returns a message to the probe route, filled to a number of bytes. */
function probeMessage(probe: Probe, bytes = 0): string {
  const fields = { action: PROBE_ROUTE, probe, fill: "" };
  const missing = Math.max(0, bytes - JSON.stringify(fields).length);
  return JSON.stringify({ ...fields, fill: "x".repeat(missing) });
}

/** Replaces the ids of an error frame, which are different each time. */
function withoutIds(frame: string): string {
  return frame.replace(/[A-Za-z0-9_-]{15}=/g, "…");
}

const errorFrame = (message: string) => `{"message": "${message}", "connectionId":"…", "requestId":"…"}`;

async function closing(
  recorded: string,
  closed: Promise<{ code: number; reason: string }>,
): Promise<Observation> {
  const { code, reason } = await closed;
  return { recorded, seen: String(code), note: `reason: "${reason}"` };
}

/** Checks of messages from clients and of route responses. */
export const MESSAGES: readonly Check[] = [
  {
    fact: "message-event",
    name: "a MESSAGE has a body, and neither headers nor a query",
    async run(bench) {
      const client = await bench.raw();
      const { requestContext: _, ...event } = JSON.parse(await client.ask(probeMessage({ kind: "event" })));
      return { recorded: "body isBase64Encoded", seen: Object.keys(event).sort().join(" ") };
    },
  },
  {
    fact: "route-selection",
    name: "the route is selected by the field, and other messages go to $default",
    async run(bench) {
      const client = await bench.raw();
      const seen = [JSON.parse(await client.ask(probeMessage({ kind: "event" }))).requestContext.routeKey];
      const probe: Probe = { kind: "event" };
      for (const message of [{ action: "other", probe }, { probe }, { action: "$connect", probe }])
        seen.push(JSON.parse(await client.ask(message)).requestContext.routeKey);
      client.send("not JSON");
      const { requestContext } = await bench.event("text", ({ body }) => body === "not JSON");
      seen.push(requestContext.routeKey);
      return { recorded: "probe $default $default $default $default", seen: seen.join(" ") };
    },
  },
  {
    fact: "message-max",
    name: "a message of 128 KB in frames of 32 KB arrives",
    async run(bench) {
      const client = await bench.raw();
      client.sendFrames(probeMessage({ kind: "length" }, MAX_MESSAGE_BYTES), MAX_FRAME_BYTES);
      return { recorded: JSON.stringify({ length: MAX_MESSAGE_BYTES }), seen: await client.next() };
    },
  },
  {
    fact: "message-too-large",
    name: "a message above 128 KB closes the connection with 1009",
    async run(bench) {
      const client = await bench.raw();
      client.sendFrames(probeMessage({ kind: "length" }, MAX_MESSAGE_BYTES + 1), MAX_FRAME_BYTES);
      return closing("1009", client.closed());
    },
  },
  {
    fact: "frame-max",
    name: "a frame of 32 KB arrives",
    async run(bench) {
      const client = await bench.raw();
      const seen = await client.ask(probeMessage({ kind: "length" }, MAX_FRAME_BYTES));
      return { recorded: JSON.stringify({ length: MAX_FRAME_BYTES }), seen };
    },
  },
  {
    fact: "frame-too-large",
    name: "a frame above 32 KB closes the connection with 1009",
    async run(bench) {
      const client = await bench.raw();
      client.send(probeMessage({ kind: "length" }, MAX_FRAME_BYTES + 1));
      return closing("1009", client.closed());
    },
  },
  {
    fact: "binary-frame",
    name: "a binary frame closes the connection with 1003",
    async run(bench) {
      const client = await bench.raw();
      client.socket.send(Buffer.from([1, 2, 3]));
      return closing("1003", client.closed());
    },
  },
  {
    fact: "message-status",
    name: "a route response has the body of a function that returns another status than 2xx",
    async run(bench) {
      const client = await bench.raw();
      const seen = await client.ask(probeMessage({ kind: "status", status: 500, body: "the body" }));
      return { recorded: "the body", seen: withoutIds(seen) };
    },
  },
  {
    fact: "message-empty",
    name: "a route response without a body is an empty message",
    async run(bench) {
      const client = await bench.raw();
      const seen = await client.ask(probeMessage({ kind: "status", status: 200 }));
      return { recorded: '""', seen: JSON.stringify(seen) };
    },
  },
  {
    fact: "message-failure",
    name: "a function that throws or returns an unknown key causes an error frame",
    async run(bench) {
      const client = await bench.raw();
      const thrown = await client.ask(probeMessage({ kind: "throw" }));
      const malformed = await client.ask(probeMessage({ kind: "malformed" }));
      const frame = errorFrame("Internal server error");
      return { recorded: `${frame} ${frame}`, seen: withoutIds(`${thrown} ${malformed}`) };
    },
  },
  {
    fact: "integration-timeout",
    name: "an integration that takes longer than 29 s causes an error frame",
    async run(bench) {
      const client = await bench.raw();
      const elapsed = stopwatch();
      const ms = INTEGRATION_TIMEOUT_MS + 1500;
      const seen = await client.ask(probeMessage({ kind: "sleep", ms }), ms + 10_000);
      const seconds = (elapsed() / 1000).toFixed(1);
      // The function still sleeps. An event at this time would be throttled.
      await bench.pause(2500);
      const isOpen = client.socket.readyState === client.socket.OPEN;
      return {
        recorded: `${errorFrame("Endpoint request timed out")}, open: true`,
        seen: `${withoutIds(seen)}, open: ${isOpen}`,
        note: `after ${seconds} s`,
      };
    },
  },
  {
    fact: "ping",
    name: "a ping of the client is answered with a pong",
    async run(bench) {
      const client = await bench.raw();
      const pong = new Promise<string>((resolve) =>
        client.socket.once("pong", (data) => resolve(String(data))),
      );
      client.socket.ping("a");
      return { recorded: "a", seen: await within(10_000, "pong", pong) };
    },
  },
  {
    fact: "disconnect-event",
    name: "$disconnect has the code of the client, or 1005",
    async run(bench) {
      const seen: unknown[] = [];
      for (const code of [4001, undefined]) {
        const client = await bench.raw();
        const { requestContext } = JSON.parse(await client.ask(probeMessage({ kind: "event" })));
        client.socket.close(code, code === undefined ? undefined : "own reason");
        const event = await bench.disconnectEvent(requestContext.connectionId);
        seen.push(event.requestContext.disconnectStatusCode, event.requestContext.disconnectReason);
      }
      return { recorded: "4001,own reason,1005,Client-side close frame status not set", seen: seen.join() };
    },
  },
];
