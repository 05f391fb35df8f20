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
  const { headers = {} } = await bench.event("raw request", ({ rawPath }) => rawPath === RAW_PATH);
  return headers;
}

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
];

function summary(text: string): string {
  const { id, ok, result } = JSON.parse(text);
  return JSON.stringify({ id, ok, user: result?.user });
}
