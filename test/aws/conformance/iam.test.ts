import { describe, expect } from "vitest";
import type { LambdaFunction, LocalGatewayOptions } from "../../../src/local/emulator.ts";
import { Client } from "../../local/rig.ts";
import { bySmithy, queryBySmithy } from "../by-smithy.ts";
import {
  callsOf,
  type Desk,
  headerOf,
  LOCAL_KEY,
  onDesk,
  openBackend,
  openDesk,
  route,
  upgradeOf,
} from "./desk.ts";

const IAM = "an API that asks for signatures";
const REGION = "eu-west-1";

interface Signed {
  readonly desk: Desk;
  /** Events of the functions, as they came. */
  readonly events: { readonly requestContext: Readonly<Record<string, never>> }[];
}

/** A desk whose $connect asks for a signature, before functions. */
async function signing(options: Partial<LocalGatewayOptions> = {}): Promise<Signed> {
  const events: Signed["events"] = [];
  const handler: LambdaFunction = (event) => {
    events.push(event);
    return { statusCode: 200, body: "heard" };
  };
  const integration = { type: "AWS_PROXY", handler } as const;
  const routes = {
    $connect: { integration, authorization: { type: "AWS_IAM" } },
    $default: { integration, routeResponse: true },
  } as const;
  return { events, desk: await openDesk({ apis: [{ routes, stages: { dev: {} } }], ...options }) };
}

/** What a handshake with these headers is answered, and its client where it is 101. */
async function arrive(url: string, headers: Record<string, string> = {}) {
  const client = new Client(url, [], { headers });
  const { status } = await upgradeOf(client);
  return { client, status };
}

/** Headers of an upgrade request, signed. */
function signedHeaders(
  url: string,
  { key = LOCAL_KEY, at = Date.now(), region = REGION } = {},
): Promise<Record<string, string>> {
  const { host, pathname, searchParams } = new URL(url);
  const query = Object.fromEntries(searchParams);
  return bySmithy(region, key, { method: "GET", host, path: pathname, query, body: "" }, at);
}

/** The same as a URL. */
async function signedUrl(
  url: string,
  { key = LOCAL_KEY, at = Date.now(), expirySeconds = 60 } = {},
): Promise<string> {
  const query = await queryBySmithy(REGION, key, new URL(url), { now: at, expirySeconds });
  return `${url.split("?")[0]}?${query}`;
}

describe("1.2 AWS_IAM on $connect", () => {
  onDesk("1.2 without a signature it is 403, and $connect is not called", IAM, async () => {
    const { desk, events } = await signing();
    expect((await arrive(desk.url)).status).toBe(403);
    expect(events).toEqual([]);
  });

  onDesk("1.1 with a signature in its headers it is let in", IAM, async () => {
    const { desk, events } = await signing();
    const url = `${desk.url}?room=a%2Fb`;
    expect((await arrive(url, await signedHeaders(url))).status).toBe(101);
    expect(events).toHaveLength(1);
  });

  onDesk("1.1 with a signature in its query it is let in, as browsers must", IAM, async () => {
    const { desk, events } = await signing();
    expect((await arrive(await signedUrl(`${desk.url}?room=a%2Fb&empty=`))).status).toBe(101);
    expect(events).toHaveLength(1);
  });

  onDesk("1.1 messages are not signed, and taken", IAM, async () => {
    const { desk } = await signing();
    const { client } = await arrive(await signedUrl(desk.url));
    client.socket.send("hello");
    expect(await client.text()).toBe("heard");
  });

  for (const [what, key] of [
    ["another secret", { ...LOCAL_KEY, secretAccessKey: "another" }],
    ["another key", { ...LOCAL_KEY, accessKeyId: "AKIDOTHER" }],
  ] as const) {
    onDesk(`1.2 a signature by ${what} is 403`, IAM, async () => {
      const { desk, events } = await signing();
      expect((await arrive(desk.url, await signedHeaders(desk.url, { key }))).status).toBe(403);
      expect((await arrive(await signedUrl(desk.url, { key }))).status).toBe(403);
      expect(events).toEqual([]);
    });
  }

  onDesk("1.2 a signature for another region is 403 where the gateway has one", IAM, async () => {
    const { desk } = await signing({ credentials: { ...LOCAL_KEY, region: "us-east-1" } });
    expect((await arrive(desk.url, await signedHeaders(desk.url))).status).toBe(403);
    expect((await arrive(await signedUrl(desk.url))).status).toBe(403);
    const headers = await signedHeaders(desk.url, { region: "us-east-1" });
    expect((await arrive(desk.url, headers)).status).toBe(101);
  });

  onDesk("1.2 a signature for another query is 403", IAM, async () => {
    const { desk } = await signing();
    expect((await arrive(`${desk.url}?room=b`, await signedHeaders(`${desk.url}?room=a`))).status).toBe(403);
    const url = await signedUrl(`${desk.url}?room=a`);
    expect((await arrive(url.replace("room=a", "room=b"))).status).toBe(403);
    expect((await arrive(`${url}&more=1`)).status).toBe(403);
  });

  onDesk("1.1 a signature counts however the client writes its query", IAM, async () => {
    const { desk } = await signing();
    const plain = `${desk.url}?room=a%2Fb&who=a%3Ab%40c`;
    const written = `${desk.url}?who=a:b@c&room=a%2fb`;
    expect((await arrive(written, await signedHeaders(plain))).status).toBe(101);
    const signed = (await signedUrl(plain)).replace("a%2Fb", "a/b");
    expect((await arrive(signed)).status).toBe(101);
  });

  onDesk("1.2 a signature for another stage is 403", IAM, async () => {
    const { desk } = await signing();
    const other = desk.url.replace(/dev$/, "test");
    expect((await arrive(desk.url, await signedHeaders(other))).status).toBe(403);
    expect((await arrive((await signedUrl(other)).replace("/test?", "/dev?"))).status).toBe(403);
  });

  for (const minutes of [-6, 6]) {
    onDesk(`1.2 a signature made ${minutes} minutes from now is 403`, IAM, async () => {
      const { desk } = await signing();
      const headers = await signedHeaders(desk.url, { at: Date.now() + minutes * 60_000 });
      expect((await arrive(desk.url, headers)).status).toBe(403);
    });
  }

  onDesk("1.2 a signature in a query holds for as long as it says", IAM, async () => {
    const { desk } = await signing();
    const at = Date.now() - 60 * 60_000;
    expect((await arrive(await signedUrl(desk.url, { at, expirySeconds: 3660 }))).status).toBe(101);
    expect((await arrive(await signedUrl(desk.url, { at, expirySeconds: 3540 }))).status).toBe(403);
    const longer = (await signedUrl(desk.url, { at, expirySeconds: 3540 })).replace("=3540", "=3660");
    expect((await arrive(longer)).status).toBe(403);
  });

  for (const [what, change] of [
    ["no time to hold", (url: string) => url.replace(/&X-Amz-Expires=\d+/, "")],
    ["more than a week to hold", (url: string) => url.replace(/(X-Amz-Expires)=\d+/, "$1=604801")],
    ["another algorithm", (url: string) => url.replace("HMAC-SHA256", "HMAC-SHA1")],
    ["no credential", (url: string) => url.replace(/&X-Amz-Credential=[^&]+/, "")],
    ["no signature", (url: string) => url.replace(/&X-Amz-Signature=[^&]+/, "")],
    ["a host that is not signed", (url: string) => url.replace("SignedHeaders=host", "SignedHeaders=accept")],
  ] as const) {
    onDesk(`1.2 a query with ${what} is 403`, IAM, async () => {
      const { desk } = await signing();
      const url = await signedUrl(desk.url);
      expect(change(url)).not.toBe(url);
      expect((await arrive(change(url))).status).toBe(403);
    });
  }

  onDesk("1.5 who signed is told of $connect, and of nothing later", IAM, async () => {
    const backend = await openBackend();
    const names = ["accountId", "caller", "user", "userArn"];
    const parameters = Object.fromEntries(
      names.map((name) => [`integration.request.header.x-${name}`, `context.identity.${name}`]),
    );
    const routes = {
      $connect: route(backend, "connect", { parameters, authorization: { type: "AWS_IAM" } }),
      $default: route(backend, "default", { parameters }),
    };
    const desk = await openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    const { client } = await arrive(await signedUrl(`${desk.url}?case=signed`));
    client.socket.send("{}");
    await callsOf(backend, "signed", "?kind=default");
    const told = (await callsOf(backend, "signed")).map((call) =>
      names.map((name) => headerOf(call, `x-${name}`)),
    );
    expect(told).toEqual([
      [
        "123456789012",
        expect.stringMatching(/^AIDA[A-Z0-9]{17}$/),
        expect.stringMatching(/^AIDA[A-Z0-9]{17}$/),
        "arn:aws:iam::123456789012:user/local",
      ],
      [undefined, undefined, undefined, undefined],
    ]);
  });

  onDesk("1.6 who signed is in a function's CONNECT", IAM, async () => {
    const { desk, events } = await signing();
    await arrive(await signedUrl(desk.url));
    expect(events[0]?.requestContext.identity).toMatchObject({
      accessKey: LOCAL_KEY.accessKeyId,
      accountId: "123456789012",
      userArn: "arn:aws:iam::123456789012:user/local",
    });
  });

  onDesk("1.1 it is refused where nobody may sign", "an API of one's own", async () => {
    await expect(signing({ credentials: undefined } as never)).rejects.toThrow(
      /AWS_IAM requires the credentials of the signer\. Write: credentials/,
    );
  });
});
