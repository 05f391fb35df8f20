import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { request } from "node:https";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { Client, openClient, RawClient } from "../../local/rig.ts";
import { at, callsOf, headerOf, openGateway, testLocally } from "./gateway-under-test.ts";

/** A key and a certificate, if openssl is installed to create them. */
function selfSigned(): { key: string; cert: string } | undefined {
  const wanted =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=local -addext subjectAltName=IP:127.0.0.1 -keyout -";
  const { status, stdout } = spawnSync("openssl", wanted.split(" "), { encoding: "utf8" });
  if (status !== 0) return undefined;
  const [key, cert] = ["PRIVATE KEY", "CERTIFICATE"].map(
    (kind) => new RegExp(`-----BEGIN ${kind}-----[^]*?-----END ${kind}-----\n`).exec(stdout)?.[0],
  );
  return key && cert ? { key, cert } : undefined;
}

const TLS = "a custom certificate";
const tls = selfSigned();

if (tls === undefined) {
  test("1.1 TLS", ({ skip }) => {
    skip("openssl is not installed, so the tests of TLS are skipped.");
  });
}

describe.skipIf(tls === undefined)("1.1 TLS", () => {
  testLocally("1.1 TLS 1.2 and 1.3 are accepted, and no older version", TLS, async () => {
    const gateway = await openGateway({ tls, routes: {} });
    for (const [version, isTaken] of [
      ["TLSv1.1", false],
      ["TLSv1.2", true],
      ["TLSv1.3", true],
    ] as const) {
      const versions = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" } as const;
      const client = new Client(gateway.url, [], { ca: tls?.cert, ...versions });
      const opened = client.opened.then(
        () => true,
        () => false,
      );
      expect(await opened, version).toBe(isTaken);
      client.socket.terminate();
    }
  });

  testLocally("1.1 a gateway closes although a client is silent in its TLS handshake", TLS, async () => {
    const { local } = await openGateway({ tls, routes: {} });
    const silent = new RawClient(local.port);
    await once(silent.socket, "connect");
    // Connections are accepted in order. When this one is open, the silent one has been accepted.
    await openClient(local.url, [], { ca: tls?.cert });
    await local.close();
    await silent.readAll();
  });

  testLocally("1.1 with a certificate sockets use wss", TLS, async () => {
    const gateway = await openGateway({ tls, routes: {} });
    expect(gateway.url).toMatch(/^wss:\/\/127\.0\.0\.1:\d+\/dev$/);
    const client = new Client(gateway.url, [], { ca: tls?.cert });
    await client.opened;
    client.socket.send('{"answer":{"body":"received"}}');
    expect(await client.text()).toBe("received");
    client.socket.terminate();
  });

  testLocally("4 a frame of more than 32 KB closes the socket with 1009 with TLS too", TLS, async () => {
    const client = new Client((await openGateway({ tls, routes: {} })).url, [], { ca: tls?.cert });
    await client.opened;
    client.socket.send("x".repeat(32 * 1024 + 1));
    expect((await client.closed).code).toBe(1009);
  });

  testLocally("1.1 a connection without TLS is rejected", TLS, async () => {
    const gateway = await openGateway({ tls, routes: {} });
    const client = new Client(gateway.url.replace("wss:", "ws:"));
    await expect(client.opened).rejects.toThrow();
  });

  testLocally("1.3 the forwarded headers contain https", TLS, async () => {
    const gateway = await openGateway({ tls, routes: {} });
    const client = new Client(`${gateway.url}?case=secure`, [], { ca: tls?.cert });
    await client.opened;
    const [call] = await callsOf(gateway.backend, "secure");
    expect(call && headerOf(call, "x-forwarded-proto")).toBe("https");
    expect(call && headerOf(call, "x-forwarded-port")).toBe(new URL(gateway.url).port);
    client.socket.terminate();
  });

  testLocally("5.1 the Management API uses https", TLS, async () => {
    const gateway = await openGateway({ tls, routes: {}, credentials: undefined } as never);
    const client = new Client(gateway.url, [], { ca: tls?.cert });
    await client.opened;
    expect(gateway.endpoint).toMatch(/^https:/);
    const [id = ""] = gateway.local.connectionIds;
    const status = await new Promise((resolve, reject) => {
      const posting = request(`${gateway.endpoint}${at(id)}`, { method: "POST", ca: tls?.cert }, (answer) => {
        text(answer).then(() => resolve(answer.statusCode), reject);
      });
      posting.on("error", reject).end("hello");
    });
    expect(status).toBe(200);
    expect(await client.text()).toBe("hello");
    client.socket.terminate();
  });
});

test.each([
  ["no key", { cert: "x" }],
  ["invalid PEM", { key: "x", cert: "y" }],
])("1.1 a certificate with %s is rejected at startup", async (_what, wrong) => {
  await expect(openGateway({ tls: wrong, routes: {} } as never)).rejects.toThrow(
    /^tls: the key and the certificate cannot be used \(.+\)\. Write: tls: \{ key, cert \}, both in PEM\.$/,
  );
});
