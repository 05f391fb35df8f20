import type { Check } from "../check.ts";

const keysOf = (value: object | undefined) =>
  Object.keys(value ?? {})
    .sort()
    .join(" ");

/** Checks of `$connect`, and of what an event contains. */
export const CONNECTING: readonly Check[] = [
  {
    fact: "connect-accepted",
    name: "a token of Sallyport opens a connection, and a call receives its response",
    async run(bench) {
      const client = await bench.user("ann", { channel: "smoke/room" });
      const seen = await client.ask({ id: "1", handler: "whoami" });
      const result = { user: "ann", channel: "smoke/room" };
      return { recorded: JSON.stringify({ id: "1", ok: true, status: 200, result }), seen };
    },
  },
  {
    fact: "connect-denied",
    name: "a connect that Sallyport denies is answered with its status",
    async run(bench) {
      return { recorded: "403", seen: String(await bench.status(bench.start({}))) };
    },
  },
  {
    fact: "connect-status",
    name: "the status of the integration is the status of the handshake",
    async run(bench) {
      const seen: number[] = [];
      for (const status of [201, 301, 401, 503])
        seen.push(await bench.status(bench.probing({ kind: "status", status })));
      return { recorded: "101 301 401 503", seen: seen.join(" ") };
    },
  },
  {
    fact: "connect-failure",
    name: "a function that throws or returns an unknown key refuses the handshake with 502",
    async run(bench) {
      const thrown = await bench.status(bench.probing({ kind: "throw" }));
      const malformed = await bench.status(bench.probing({ kind: "malformed" }));
      return { recorded: "502 502", seen: `${thrown} ${malformed}` };
    },
  },
  {
    fact: "plain-get",
    name: "a GET without an upgrade is answered with 426",
    async run({ environment }) {
      const { status } = await fetch(environment.url.replace(/^ws/, "http"));
      return { recorded: "426", seen: String(status) };
    },
  },
  {
    fact: "connect-event",
    name: "a CONNECT has the keys that the adapter reads",
    async run(bench) {
      await bench.raw({ url: `${bench.environment.url}?marker=keys` });
      const { requestContext, ...event } = await bench.connectEvent("keys");
      return {
        recorded:
          "headers isBase64Encoded multiValueHeaders multiValueQueryStringParameters queryStringParameters",
        seen: keysOf(event),
        note: `requestContext: ${keysOf(requestContext)}`,
      };
    },
  },
  {
    fact: "connect-client-headers",
    name: "a CONNECT has the headers of the client",
    async run(bench) {
      const headers = { cookie: "a=1", origin: "https://www.example.com", "x-own": "2" };
      await bench.raw({ url: `${bench.environment.url}?marker=headers`, headers });
      const { headers: seen = {} } = await bench.connectEvent("headers");
      const values = new Map(Object.entries(seen).map(([name, value]) => [name.toLowerCase(), value]));
      const pairs = Object.keys(headers).map((name) => `${name}: ${values.get(name)}`);
      return {
        recorded: Object.entries(headers)
          .map((pair) => pair.join(": "))
          .join(", "),
        seen: pairs.join(", "),
        note: `names: ${keysOf(seen)}`,
      };
    },
  },
  {
    fact: "connection-id",
    name: "ids have 16 characters and end with =, and connectedAt is in milliseconds",
    async run(bench) {
      await bench.raw({ url: `${bench.environment.url}?marker=ids` });
      const { connectionId, requestId, extendedRequestId, connectedAt } = (await bench.connectEvent("ids"))
        .requestContext;
      const isId = (id: unknown) => /^[A-Za-z0-9_-]{15}=$/.test(String(id));
      const seen = [isId(connectionId), isId(requestId), requestId === extendedRequestId, typeof connectedAt];
      return {
        recorded: "true true true number",
        seen: seen.join(" "),
        note: `connection id: ${connectionId}`,
      };
    },
  },
  {
    fact: "source-ip",
    name: "a client cannot choose the source address with X-Forwarded-For",
    async run(bench) {
      const headers = { "x-forwarded-for": "203.0.113.7" };
      await bench.raw({ url: `${bench.environment.url}?marker=address`, headers });
      const { requestContext } = await bench.connectEvent("address");
      const { sourceIp } = requestContext.identity as { sourceIp?: string };
      const seen = sourceIp === undefined ? "no address" : sourceIp === "203.0.113.7" ? "forged" : "its own";
      return { recorded: "its own", seen };
    },
  },
  {
    fact: "subprotocol",
    name: "the response has the sub-protocol that the integration returned, and none otherwise",
    async run(bench) {
      const headers = { "Sec-WebSocket-Protocol": "one" };
      const protocols = ["one", "two"];
      const chosen = bench.probing({ kind: "status", status: 200, headers }, { protocols });
      await chosen.refusal;
      const silent = bench.probing({ kind: "status", status: 200 }, { protocols });
      // The client of this check rejects a response without a sub-protocol, as browsers do.
      const refusal = await silent.refusal.then(
        () => `opened with "${silent.socket.protocol}"`,
        (error: Error) => error.message,
      );
      return {
        recorded: "one, then: Server sent no subprotocol",
        seen: `${chosen.socket.protocol}, then: ${refusal}`,
      };
    },
  },
  {
    fact: "compression",
    name: "the response accepts the compression that the client offers",
    async run(bench) {
      const client = await bench.raw({ perMessageDeflate: true });
      return { recorded: "permessage-deflate", seen: client.socket.extensions || "none" };
    },
  },
  {
    fact: "post-during-connect",
    name: "a post to a connection during its $connect is answered with 410",
    async run(bench) {
      await bench.probing({ kind: "post" }).refusal;
      const { lastPost } = await bench.command({ kind: "events" });
      return { recorded: "410 GoneException", seen: lastPost ?? "no post" };
    },
  },
];
