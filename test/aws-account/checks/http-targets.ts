import type { Bench } from "../bench.ts";
import type { Check } from "../check.ts";
import { HTTP_ROUTE, PROBE_ROUTE, RAW_PATH, RAW_ROUTE, VIEW_PATH } from "../names.ts";

/** Sends a request to the view as if it were a message from API Gateway. */
async function forge(
  { environment }: Bench,
  connectionId: string,
  secret: string | undefined,
): Promise<string> {
  const response = await fetch(`${environment.functionUrl}${VIEW_PATH}/default`, {
    method: "POST",
    headers: {
      connectionId,
      "content-type": "application/json",
      "x-amzn-apigateway-api-id": environment.apiId,
      "x-sallyport-stage": new URL(environment.url).pathname.slice(1),
      ...(secret === undefined ? {} : { "x-sallyport-secret": secret }),
    },
    body: JSON.stringify({ id: "1", handler: "whoami" }),
  });
  return String(response.status);
}

async function connectionIdOf(bench: Bench): Promise<string> {
  const client = await bench.user("ann");
  const { requestContext } = JSON.parse(await client.ask({ action: PROBE_ROUTE, probe: { kind: "event" } }));
  return requestContext.connectionId;
}

/** Returns the headers of the request that the URL of the function received for a message. */
async function headersOf(bench: Bench): Promise<Readonly<Record<string, string>>> {
  const client = await bench.raw({ headers: { "x-own": "1", cookie: "a=1" } });
  const probe = { kind: "status", status: 200, body: "received" };
  await client.ask({ action: RAW_ROUTE, probe });
  return (await bench.request(RAW_PATH)).headers ?? {};
}

/** The time in which an answer would arrive, in milliseconds. */
const SILENCE_MS = 5000;

const MAPPED = ["connectionid", "x-sallyport-secret", "x-sallyport-route-key", "x-sallyport-event-type"];

/** Checks of targets that are URLs. */
export const HTTP_TARGETS: readonly Check[] = [
  {
    fact: "http-secret",
    name: "an event with the secret in the mapped header is accepted",
    async run(bench) {
      const client = await bench.user("ann");
      const seen = await client.ask({ action: HTTP_ROUTE, id: "1", handler: "whoami" });
      return { recorded: JSON.stringify({ id: "1", ok: true, user: "ann" }), seen: summary(seen) };
    },
  },
  {
    fact: "http-forged",
    name: "a forged event without the secret or with another one is refused",
    async run(bench) {
      const id = await connectionIdOf(bench);
      const without = await forge(bench, id, undefined);
      const wrong = await forge(bench, id, "x".repeat(43));
      const { secret } = bench.environment;
      return { recorded: "403 403 200", seen: `${without} ${wrong} ${await forge(bench, id, secret)}` };
    },
  },
  {
    fact: "http-mapped-headers",
    name: "a message has the mapped headers, and no header of the client",
    async run(bench) {
      const headers = await headersOf(bench);
      const seen = [...MAPPED, "x-own", "cookie"].filter((name) => headers[name] !== undefined).join(" ");
      return { recorded: MAPPED.join(" "), seen, note: `names: ${Object.keys(headers).sort().join(" ")}` };
    },
  },
  {
    fact: "http-api-id",
    name: "a message has the id of the API as header and in its User-Agent",
    async run(bench) {
      const headers = await headersOf(bench);
      const { apiId } = bench.environment;
      return {
        recorded: `${apiId} AmazonAPIGateway_${apiId}`,
        seen: `${headers["x-amzn-apigateway-api-id"]} ${headers["user-agent"]}`,
      };
    },
  },
  {
    fact: "http-error-body",
    name: "a route response has the body of an HTTP response with another status than 2xx",
    async run(bench) {
      const client = await bench.raw();
      const bodies: string[] = [];
      for (const status of [404, 500])
        bodies.push(
          await client.ask({ action: RAW_ROUTE, probe: { kind: "status", status, body: `the ${status}` } }),
        );
      return { recorded: "the 404, the 500", seen: bodies.join(", ") };
    },
  },
  {
    fact: "http-connect",
    name: "a URL as the target of $connect opens a connection, and replies can be pushed",
    async run(bench) {
      const client = await bench.user("bob", {}, { url: bench.environment.http.url });
      const seen = await client.ask({ id: "1", handler: "whoami" });
      return { recorded: JSON.stringify({ id: "1", ok: true, user: "bob" }), seen: summary(seen) };
    },
  },
  {
    fact: "http-connect-status",
    name: "the status of an HTTP response to $connect is the status of the handshake",
    async run(bench) {
      const client = bench.start({}, { url: bench.environment.http.url });
      return { recorded: "403", seen: String(await bench.status(client)) };
    },
  },
  {
    fact: "http-connect-request",
    name: "a $connect has the query and the headers of the client",
    async run(bench) {
      const headers = { cookie: "a=1", origin: "https://www.example.com", "x-own": "2" };
      // Sallyport denies this connect, because it has no token. The function has recorded it.
      await bench.start({ marker: "m" }, { url: bench.environment.http.url, headers }).refusal;
      const { headers: received = {}, rawQueryString, cookies } = await bench.request(`${VIEW_PATH}/connect`);
      const hasMarker = new URLSearchParams(String(rawQueryString)).get("marker") === "m";
      // The URL of a function passes cookies separately.
      const seen = `${hasMarker} ${cookies ?? received.cookie} ${received.origin} ${received["x-own"]}`;
      const note = `names: ${Object.keys(received).sort().join(" ")}`;
      return { recorded: "true a=1 https://www.example.com 2", seen, note };
    },
  },
  {
    fact: "http-mapping-overwrites",
    name: "a mapped header replaces the header of the client at $connect",
    async run(bench) {
      const { url, secret } = bench.environment.http;
      const headers = {
        connectionId: "forged0forged0A=",
        "x-sallyport-secret": "f".repeat(43),
        "x-sallyport-source-ip": "203.0.113.7",
      };
      const client = bench.start({ ws_token: await bench.token("bob") }, { url, headers });
      const status = await bench.status(client);
      const { headers: received = {} } = await bench.request(`${VIEW_PATH}/connect`);
      const forged = Object.entries(headers).filter(([name, value]) =>
        received[name.toLowerCase()]?.includes(value),
      );
      const isOwn = received["x-sallyport-secret"] === secret;
      const names = forged.map(([name]) => name).join(" ") || "none";
      return {
        recorded: "101, secret: true, forged: none",
        seen: `${status}, secret: ${isOwn}, forged: ${names}`,
      };
    },
  },
  {
    fact: "http-disconnect",
    name: "a $disconnect has the code and the reason as mapped headers",
    async run(bench) {
      const client = await bench.user("bob", {}, { url: bench.environment.http.url });
      client.socket.close(4001, "own reason");
      await client.closed();
      const { headers = {} } = await bench.request(`${VIEW_PATH}/disconnect`);
      const seen = `${headers["x-sallyport-disconnect-code"]} ${headers["x-sallyport-disconnect-reason"]}`;
      return { recorded: "4001 own reason", seen };
    },
  },
  {
    fact: "http-silent",
    name: "an HTTP response is not sent to the client without a route response",
    async run(bench) {
      const client = await bench.user("bob", {}, { url: bench.environment.http.url });
      const seen: string[] = [];
      for (const status of [200, 500]) {
        client.send({ action: RAW_ROUTE, probe: { kind: "status", status, body: `the ${status}` } });
        const nothing = bench.pause(SILENCE_MS).then(() => "nothing");
        seen.push(await Promise.race([client.next(SILENCE_MS * 2), nothing]));
      }
      return { recorded: "nothing, nothing", seen: seen.join(", ") };
    },
  },
];

function summary(text: string): string {
  const { id, ok, result } = JSON.parse(text);
  return JSON.stringify({ id, ok, user: result?.user });
}
