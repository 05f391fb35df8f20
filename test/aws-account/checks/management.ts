import { MAX_MESSAGE_BYTES } from "../../../src/protocol/quotas.ts";
import type { Bench } from "../bench.ts";
import type { Check } from "../check.ts";
import type { Client } from "../client.ts";
import { CHANNEL, PROBE_ROUTE } from "../names.ts";

/** Returns the id of an open connection. */
async function idOf(client: Client): Promise<string> {
  const { requestContext } = JSON.parse(await client.ask({ action: PROBE_ROUTE, probe: { kind: "event" } }));
  return requestContext.connectionId;
}

/** Returns an open connection and its id. */
async function open(bench: Bench): Promise<{ readonly client: Client; readonly id: string }> {
  const client = await bench.raw();
  return { client, id: await idOf(client) };
}

/** A well-formed id of no connection. */
const UNKNOWN_ID = "L0SM9cOFvHcCIhw=";

/** Checks of the Management API, which Sallyport calls to send and to close. */
export const MANAGEMENT: readonly Check[] = [
  {
    fact: "post-text",
    name: "POST is answered with 200, and the client receives a text frame",
    async run(bench) {
      const { client, id } = await open(bench);
      const frame = new Promise<boolean>((resolve) =>
        client.socket.once("message", (_data, isBinary) => resolve(isBinary)),
      );
      const { status, headers } = await bench.manage("POST", id, "ünïcode");
      const seen = `${status} binary: ${await frame} ${await client.next()}`;
      return {
        recorded: "200 binary: false ünïcode",
        seen,
        note: `headers: ${[...headers.keys()].join(" ")}`,
      };
    },
  },
  {
    fact: "post-max",
    name: "POST of 128 KB arrives as one message, and a larger one is answered with 413",
    async run(bench) {
      const { client, id } = await open(bench);
      const largest = await bench.manage("POST", id, "x".repeat(MAX_MESSAGE_BYTES));
      const { length } = await client.next();
      const larger = await bench.manage("POST", id, "x".repeat(MAX_MESSAGE_BYTES + 1));
      return {
        recorded: `200 ${MAX_MESSAGE_BYTES} 413 PayloadTooLargeException`,
        seen: `${largest.status} ${length} ${larger.status} ${larger.errorType}`,
      };
    },
  },
  {
    fact: "post-gone",
    name: "calls for a connection that does not exist are answered with 410 and no body",
    async run(bench) {
      const { client, id } = await open(bench);
      client.socket.close(1000);
      await bench.disconnectEvent(id);
      const answers = [
        await bench.manage("POST", id, "late"),
        await bench.manage("POST", UNKNOWN_ID, "late"),
        await bench.manage("GET", id),
        await bench.manage("DELETE", id),
      ];
      const lines = answers.map(({ status, errorType, body }) => `${status} ${errorType} "${body}"`);
      return { recorded: '410 GoneException ""', seen: [...new Set(lines)].join(", ") };
    },
  },
  {
    fact: "post-malformed-id",
    name: "a malformed connection id is answered with 400",
    async run(bench) {
      const { status, errorType, body } = await bench.manage("POST", "x", "text");
      return {
        recorded: '400 BadRequestException {"message":"Invalid connectionId: x"}',
        seen: `${status} ${errorType} ${body}`,
      };
    },
  },
  {
    fact: "management-forbidden",
    name: "another stage, and a call without a signature, are answered with 403",
    async run(bench) {
      const { endpoint } = bench.environment;
      const wrong = await bench.manage("POST", UNKNOWN_ID, "text", `${new URL(endpoint).origin}/other`);
      const path = `${endpoint}/@connections/${encodeURIComponent(UNKNOWN_ID)}`;
      const unsigned = await fetch(path, { method: "POST", body: "text" });
      return {
        recorded: "403 ForbiddenException 403",
        seen: `${wrong.status} ${wrong.errorType} ${unsigned.status}`,
        note: `without a signature: ${unsigned.headers.get("x-amzn-errortype")}`,
      };
    },
  },
  {
    fact: "get-connection",
    name: "GET returns the address and the times of a connection",
    async run(bench) {
      const { id } = await open(bench);
      const { status, body } = await bench.manage("GET", id);
      const { identity, connectedAt, lastActiveAt } = JSON.parse(body);
      const isTime = (text: string) => /^\d{4}-\d\d-\d\dT.*Z$/.test(text);
      const seen = [status, typeof identity.sourceIp, isTime(connectedAt), isTime(lastActiveAt)].join(" ");
      return { recorded: "200 string true true", seen };
    },
  },
  {
    fact: "delete-connection",
    name: "DELETE closes with 1000, and $disconnect follows",
    async run(bench) {
      const { client, id } = await open(bench);
      const closed = client.closed();
      const { status } = await bench.manage("DELETE", id);
      const { code, reason, tookMs } = await closed;
      const { requestContext } = await bench.disconnectEvent(id);
      return {
        recorded: "204 1000 Connection Closed Normally",
        seen: `${status} ${code} ${reason}`,
        note: `after ${tookMs} ms, $disconnect: ${requestContext.disconnectStatusCode} "${requestContext.disconnectReason}"`,
      };
    },
  },
  {
    fact: "channel-send",
    name: "a send to a channel reaches its connections, and no other",
    async run(bench) {
      const inside = await bench.user("ann", { channel: CHANNEL });
      const outside = await bench.user("bob");
      const { report } = await bench.command({ kind: "send", text: "hello" });
      const received = JSON.parse(await inside.next()).text;
      const { recipients, sent } = report as { recipients: number; sent: number };
      const answer = JSON.parse(await outside.ask({ id: "1", handler: "whoami" }));
      const seen = `${received}, ${sent} of ${recipients}, other: ${answer.id ?? "message"}, unread: ${outside.unread}`;
      return { recorded: "hello, 1 of 1, other: 1, unread: 0", seen };
    },
  },
  {
    fact: "revoke-closes",
    name: "a revoked permission closes the connection",
    async run(bench) {
      const client = await bench.user("cleo");
      const earlier = await bench.token("cleo");
      const closed = client.closed();
      await bench.command({ kind: "revoke", user: "cleo" });
      const { code, reason, tookMs } = await closed;
      const again = await bench.status(bench.start({ ws_token: earlier }));
      return {
        recorded: "1000 Connection Closed Normally, then 403",
        seen: `${code} ${reason}, then ${again}`,
        note: `${tookMs} ms after the invocation began`,
      };
    },
  },
];
