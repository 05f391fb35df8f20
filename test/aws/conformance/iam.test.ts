import { describe, expect } from "vitest";
import type { LambdaFunction, LocalGatewayOptions } from "../../../src/local/emulator.ts";
import { Client } from "../../local/rig.ts";
import { bySmithy, queryBySmithy } from "../by-smithy.ts";
import {
  callsOf,
  type GatewayUnderTest,
  headerOf,
  LOCAL_KEY,
  openBackend,
  openGateway,
  route,
  testLocally,
  upgradeOf,
} from "./gateway-under-test.ts";

const IAM = "an API with IAM authorization";
const REGION = "eu-west-1";

interface Signed {
  readonly gateway: GatewayUnderTest;
  /** Events of the functions in the order in which they arrived. */
  readonly events: { readonly requestContext: Readonly<Record<string, never>> }[];
}

/** Opens a gateway whose $connect requires a signature, in front of functions. */
async function signing(options: Partial<LocalGatewayOptions> = {}): Promise<Signed> {
  const events: Signed["events"] = [];
  const handler: LambdaFunction = (event) => {
    events.push(event);
    return { statusCode: 200, body: "received" };
  };
  const integration = { type: "AWS_PROXY", handler } as const;
  const routes = {
    $connect: { integration, authorization: { type: "AWS_IAM" } },
    $default: { integration, routeResponse: true },
  } as const;
  return { events, gateway: await openGateway({ apis: [{ routes, stages: { dev: {} } }], ...options }) };
}

/** Returns the status of a handshake with these headers, and its client if it is 101. */
async function arrive(url: string, headers: Record<string, string> = {}) {
  const client = new Client(url, [], { headers });
  const { status } = await upgradeOf(client);
  return { client, status };
}

/** Returns the signed headers of an upgrade request. */
function signedHeaders(
  url: string,
  { key = LOCAL_KEY, at = Date.now(), region = REGION } = {},
): Promise<Record<string, string>> {
  const { host, pathname, searchParams } = new URL(url);
  const query = Object.fromEntries(searchParams);
  return bySmithy(region, key, { method: "GET", host, path: pathname, query, body: "" }, at);
}

/** Returns the same signature in a URL. */
async function signedUrl(
  url: string,
  { key = LOCAL_KEY, at = Date.now(), expirySeconds = 60 } = {},
): Promise<string> {
  const query = await queryBySmithy(REGION, key, new URL(url), { now: at, expirySeconds });
  return `${url.split("?")[0]}?${query}`;
}

describe("1.2 AWS_IAM on $connect", () => {
  testLocally("1.2 without a signature it is 403, and $connect is not called", IAM, async () => {
    const { gateway, events } = await signing();
    expect((await arrive(gateway.url)).status).toBe(403);
    expect(events).toEqual([]);
  });

  testLocally("1.1 a signature in its headers is accepted", IAM, async () => {
    const { gateway, events } = await signing();
    const url = `${gateway.url}?room=a%2Fb`;
    expect((await arrive(url, await signedHeaders(url))).status).toBe(101);
    expect(events).toHaveLength(1);
  });

  testLocally(
    "1.1 a signature in its query is accepted, because browsers cannot set headers",
    IAM,
    async () => {
      const { gateway, events } = await signing();
      expect((await arrive(await signedUrl(`${gateway.url}?room=a%2Fb&empty=`))).status).toBe(101);
      expect(events).toHaveLength(1);
    },
  );

  testLocally("1.1 messages without a signature are accepted", IAM, async () => {
    const { gateway } = await signing();
    const { client } = await arrive(await signedUrl(gateway.url));
    client.socket.send("hello");
    expect(await client.text()).toBe("received");
  });

  for (const [what, key] of [
    ["another secret", { ...LOCAL_KEY, secretAccessKey: "another" }],
    ["another key", { ...LOCAL_KEY, accessKeyId: "AKIDOTHER" }],
  ] as const) {
    testLocally(`1.2 a signature by ${what} is 403`, IAM, async () => {
      const { gateway, events } = await signing();
      expect((await arrive(gateway.url, await signedHeaders(gateway.url, { key }))).status).toBe(403);
      expect((await arrive(await signedUrl(gateway.url, { key }))).status).toBe(403);
      expect(events).toEqual([]);
    });
  }

  testLocally("1.2 a signature for another region is 403 if the gateway has a region", IAM, async () => {
    const { gateway } = await signing({ credentials: { ...LOCAL_KEY, region: "us-east-1" } });
    expect((await arrive(gateway.url, await signedHeaders(gateway.url))).status).toBe(403);
    expect((await arrive(await signedUrl(gateway.url))).status).toBe(403);
    const headers = await signedHeaders(gateway.url, { region: "us-east-1" });
    expect((await arrive(gateway.url, headers)).status).toBe(101);
  });

  testLocally("1.2 a signature for another query is 403", IAM, async () => {
    const { gateway } = await signing();
    expect((await arrive(`${gateway.url}?room=b`, await signedHeaders(`${gateway.url}?room=a`))).status).toBe(
      403,
    );
    const url = await signedUrl(`${gateway.url}?room=a`);
    expect((await arrive(url.replace("room=a", "room=b"))).status).toBe(403);
    expect((await arrive(`${url}&more=1`)).status).toBe(403);
  });

  testLocally("1.1 a signature is valid for any encoding of the query", IAM, async () => {
    const { gateway } = await signing();
    const plain = `${gateway.url}?room=a%2Fb&who=a%3Ab%40c`;
    const written = `${gateway.url}?who=a:b@c&room=a%2fb`;
    expect((await arrive(written, await signedHeaders(plain))).status).toBe(101);
    const signed = (await signedUrl(plain)).replace("a%2Fb", "a/b");
    expect((await arrive(signed)).status).toBe(101);
  });

  testLocally("1.2 a signature for another stage is 403", IAM, async () => {
    const { gateway } = await signing();
    const other = gateway.url.replace(/dev$/, "test");
    expect((await arrive(gateway.url, await signedHeaders(other))).status).toBe(403);
    expect((await arrive((await signedUrl(other)).replace("/test?", "/dev?"))).status).toBe(403);
  });

  for (const minutes of [-6, 6]) {
    testLocally(`1.2 a signature made ${minutes} minutes from now is 403`, IAM, async () => {
      const { gateway } = await signing();
      const headers = await signedHeaders(gateway.url, { at: Date.now() + minutes * 60_000 });
      expect((await arrive(gateway.url, headers)).status).toBe(403);
    });
  }

  testLocally("1.2 a signature in a query is valid until it expires", IAM, async () => {
    const { gateway } = await signing();
    const at = Date.now() - 60 * 60_000;
    expect((await arrive(await signedUrl(gateway.url, { at, expirySeconds: 3660 }))).status).toBe(101);
    expect((await arrive(await signedUrl(gateway.url, { at, expirySeconds: 3540 }))).status).toBe(403);
    const longer = (await signedUrl(gateway.url, { at, expirySeconds: 3540 })).replace("=3540", "=3660");
    expect((await arrive(longer)).status).toBe(403);
  });

  for (const [what, change] of [
    ["no validity period", (url: string) => url.replace(/&X-Amz-Expires=\d+/, "")],
    [
      "a validity period of more than a week",
      (url: string) => url.replace(/(X-Amz-Expires)=\d+/, "$1=604801"),
    ],
    ["another algorithm", (url: string) => url.replace("HMAC-SHA256", "HMAC-SHA1")],
    ["no credential", (url: string) => url.replace(/&X-Amz-Credential=[^&]+/, "")],
    ["no signature", (url: string) => url.replace(/&X-Amz-Signature=[^&]+/, "")],
    ["a host that is not signed", (url: string) => url.replace("SignedHeaders=host", "SignedHeaders=accept")],
  ] as const) {
    testLocally(`1.2 a query with ${what} is 403`, IAM, async () => {
      const { gateway } = await signing();
      const url = await signedUrl(gateway.url);
      expect(change(url)).not.toBe(url);
      expect((await arrive(change(url))).status).toBe(403);
    });
  }

  testLocally("1.5 $connect contains the signer, and later events do not", IAM, async () => {
    const backend = await openBackend();
    const names = ["accountId", "caller", "user", "userArn"];
    const parameters = Object.fromEntries(
      names.map((name) => [`integration.request.header.x-${name}`, `context.identity.${name}`]),
    );
    const routes = {
      $connect: route(backend, "connect", { parameters, authorization: { type: "AWS_IAM" } }),
      $default: route(backend, "default", { parameters }),
    };
    const gateway = await openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    const { client } = await arrive(await signedUrl(`${gateway.url}?case=signed`));
    client.socket.send("{}");
    await callsOf(backend, "signed", "?kind=default");
    const received = (await callsOf(backend, "signed")).map((call) =>
      names.map((name) => headerOf(call, `x-${name}`)),
    );
    expect(received).toEqual([
      [
        "123456789012",
        expect.stringMatching(/^AIDA[A-Z0-9]{17}$/),
        expect.stringMatching(/^AIDA[A-Z0-9]{17}$/),
        "arn:aws:iam::123456789012:user/local",
      ],
      [undefined, undefined, undefined, undefined],
    ]);
  });

  testLocally("1.6 the CONNECT of a function contains the signer", IAM, async () => {
    const { gateway, events } = await signing();
    await arrive(await signedUrl(gateway.url));
    expect(events[0]?.requestContext.identity).toMatchObject({
      accessKey: LOCAL_KEY.accessKeyId,
      accountId: "123456789012",
      userArn: "arn:aws:iam::123456789012:user/local",
    });
  });

  testLocally("1.1 it is rejected without credentials", "a separate API", async () => {
    await expect(signing({ credentials: undefined } as never)).rejects.toThrow(
      /AWS_IAM requires the credentials of the signer\. Write: credentials/,
    );
  });
});
