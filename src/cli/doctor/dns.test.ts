import { createSocket, type Socket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { resolveHosts } from "./dns.ts";

const servers: Socket[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** Response codes. Source: RFC 1035, section 4.1.1. */
const CODES = { answered: 0, failure: 2, missing: 3 } as const;

/** Starts a DNS server that knows the IPv4 address of one name. It never answers `silent.test`. */
async function dnsServer(known: string): Promise<Resolver> {
  const server = createSocket("udp4");
  servers.push(server);
  server.on("message", (query, { address, port }) => {
    const name = nameOf(query);
    if (name === "silent.test") return;
    const end = 12 + name.length + 2;
    const isKnown = name === known && query.readUInt16BE(end) === 1;
    const code = name === known ? CODES.answered : name === "broken.test" ? CODES.failure : CODES.missing;
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8180 | code, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(isKnown ? 1 : 0, 6);
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    server.send(
      Buffer.concat([head, query.subarray(12, end + 4), ...(isKnown ? [record] : [])]),
      port,
      address,
    );
  });
  server.bind(0, "127.0.0.1");
  await once(server, "listening");
  const resolver = new Resolver({ tries: 1 });
  resolver.setServers([`127.0.0.1:${server.address().port}`]);
  return resolver;
}

/** Returns the name of the first question. */
function nameOf(query: Buffer): string {
  const labels: string[] = [];
  for (let at = 12, length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return labels.join(".");
}

const never = new AbortController().signal;

test("accepts names with an address, and reports the others", async () => {
  const resolver = await dnsServer("ws.example.test");
  const hosts = ["ws.example.test", "ws.example.test", "gone.example.test", "192.0.2.1"];
  const fix = "npx sallyport gateway status prints the DNS records: create them.";
  const message = "gone.example.test has no address in DNS (ENOTFOUND).";
  const ok = { status: "ok", message: "In DNS: ws.example.test." };
  expect(await resolveHosts({ isProduction: false }, hosts, never, resolver)).toEqual([
    ok,
    { status: "warning", message, fix },
  ]);
  expect(await resolveHosts({ isProduction: true }, hosts, never, resolver)).toEqual([
    ok,
    { status: "failed", message, fix },
  ]);
});

test("warns if the DNS server fails", async () => {
  const resolver = await dnsServer("ws.example.test");
  expect(await resolveHosts({ isProduction: true }, ["broken.test"], never, resolver)).toEqual([
    {
      status: "warning",
      message: "broken.test could not be looked up in DNS (ESERVFAIL).",
      fix: "Check the network, and run the command again.",
    },
  ]);
});

test("cancels its queries when the check ends", async () => {
  const resolver = await dnsServer("ws.example.test");
  const ending = new AbortController();
  const findings = resolveHosts({ isProduction: true }, ["silent.test"], ending.signal, resolver);
  ending.abort();
  expect(await findings).toMatchObject([
    { status: "warning", message: expect.stringContaining("ECANCELLED") },
  ]);
});

test("skips addresses, and an empty list", async () => {
  const skipped = [{ status: "skipped", message: "No gateway has a public host name." }];
  expect(await resolveHosts({ isProduction: true }, [], never)).toEqual(skipped);
  expect(await resolveHosts({ isProduction: true }, ["192.0.2.1"], never)).toEqual(skipped);
});
