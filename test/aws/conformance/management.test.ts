import {
  DeleteConnectionCommand,
  ForbiddenException,
  GetConnectionCommand,
  GoneException,
  PayloadTooLargeException,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import { describe, expect, test } from "vitest";
import { ManualClock } from "../../../src/local/emulator.ts";
import { frameOf, RawClient } from "../../local/rig.ts";
import { bySmithy } from "../by-smithy.ts";
import {
  at,
  connect,
  connected,
  echo,
  type GatewayUnderTest,
  type HttpResponse,
  headerOf,
  http,
  ID,
  idOf,
  LOCAL_KEY,
  manage,
  openGateway,
  sdk,
  testLocally,
  UNKNOWN_ID,
  write,
} from "./gateway-under-test.ts";

const METHODS = ["POST", "GET", "DELETE"] as const;

/** Opens a gateway with a connected client, and returns the path of the connection. */
async function reached(headers: Record<string, string> = {}) {
  const gateway = await openGateway();
  const arrived = await connected(gateway, {}, { headers });
  const id = await idOf(arrived);
  return { gateway, arrived, id, path: at(id) };
}

function expectForbidden({ status, headers, body }: HttpResponse): void {
  expect([status, headers["x-amzn-errortype"], body]).toEqual([
    403,
    "ForbiddenException",
    '{"message":"Forbidden"}',
  ]);
}

describe("5.1 addresses", () => {
  test("5.1 a connection has a path with its percent-encoded id", async () => {
    const { gateway, arrived, path } = await reached();
    expect(path).toMatch(/%3D$/);
    expect((await manage(gateway, "POST", path, "hello")).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });

  test("5.1 %40connections is accepted too", async () => {
    const { gateway, arrived, path } = await reached();
    expect((await manage(gateway, "POST", path.replace("@", "%40"), "hello")).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });

  test("5.1 the SDK uses the endpoint with the stage", async () => {
    const { gateway, arrived, id } = await reached();
    const client = await sdk(gateway);
    await client.send(new PostToConnectionCommand({ ConnectionId: id, Data: "hello" }));
    expect(await arrived.client.text()).toBe("hello");
  });

  testLocally("5.1 an unsigned call is rejected with 403", "no signature", async () => {
    const { gateway, path } = await reached();
    for (const method of METHODS) {
      const { status, headers } = await http(gateway.endpoint, method, `/${gateway.stage}${path}`);
      expect([status, headers["x-amzn-errortype"]], method).toEqual([403, "AccessDeniedException"]);
    }
  });

  for (const [what, key] of [
    ["another secret", { ...LOCAL_KEY, secretAccessKey: "another" }],
    ["another key", { ...LOCAL_KEY, accessKeyId: "AKIDOTHER" }],
  ] as const) {
    testLocally(
      `5.1 a call that is signed by ${what} is rejected with 403`,
      "a wrong signature",
      async () => {
        const { gateway, id } = await reached();
        const sending = (await sdk(gateway, key)).send(
          new PostToConnectionCommand({ ConnectionId: id, Data: "x" }),
        );
        await expect(sending).rejects.toMatchObject({
          name: "AccessDeniedException",
          $metadata: { httpStatusCode: 403 },
        });
      },
    );
  }

  testLocally(
    "5.1 a call that is signed for another region is rejected if the gateway has a region",
    "a region",
    async () => {
      const gateway = await openGateway({ credentials: { ...LOCAL_KEY, region: "us-east-1" } });
      expect((await manage(gateway, "POST", at(UNKNOWN_ID), "x")).status).toBe(403);
    },
  );

  /** A signed post, to be sent with changes. */
  async function signed(
    { gateway, path }: { gateway: GatewayUnderTest; path: string },
    { body = "hello", at = Date.now() }: { body?: string; at?: number } = {},
  ) {
    const whole = `/${gateway.stage}${path}`;
    const { host } = new URL(gateway.endpoint);
    const call = { method: "POST", host, path: whole, body } as const;
    return { path: whole, headers: await bySmithy("eu-west-1", LOCAL_KEY, call, at) };
  }

  testLocally("5.1 a signed call can be sent", "a signature made by hand", async () => {
    const client = await reached();
    const { path, headers } = await signed(client);
    expect((await http(client.gateway.endpoint, "POST", path, { headers, body: "hello" })).status).toBe(200);
  });

  testLocally("5.1 a signed call cannot be sent with another body", "a broken signature", async () => {
    const client = await reached();
    const { path, headers } = await signed(client);
    expect((await http(client.gateway.endpoint, "POST", path, { headers, body: "bye" })).status).toBe(403);
    expect(client.arrived.client.unread).toBe(0);
  });

  testLocally("5.1 a signed call cannot be sent to another connection", "a broken signature", async () => {
    const client = await reached();
    const { headers } = await signed(client);
    const path = `/${client.gateway.stage}${at(await idOf(await connected(client.gateway)))}`;
    expect((await http(client.gateway.endpoint, "POST", path, { headers, body: "hello" })).status).toBe(403);
  });

  testLocally("5.1 a signed call cannot be sent with another method", "a broken signature", async () => {
    const client = await reached();
    const { path, headers } = await signed(client, { body: "" });
    expect((await http(client.gateway.endpoint, "DELETE", path, { headers })).status).toBe(403);
    expect(await echo(client.arrived, "still open")).toBe("still open");
  });

  for (const minutes of [-6, 6]) {
    testLocally(
      `5.1 a call that was signed ${minutes} minutes from now is rejected`,
      "a wrong clock",
      async () => {
        const client = await reached();
        const { path, headers } = await signed(client, { at: Date.now() + minutes * 60_000 });
        const { status, body } = await http(client.gateway.endpoint, "POST", path, {
          headers,
          body: "hello",
        });
        expect([status, body]).toEqual([403, '{"message":"Signature expired or not yet current."}']);
      },
    );
  }
});

describe("5.2 successful responses", () => {
  test("5.2 a POST is 200 without a body", async () => {
    const { gateway, path } = await reached();
    const { status, headers, body } = await manage(gateway, "POST", path, "x");
    expect([status, body]).toEqual([200, ""]);
    expect(headers).toMatchObject({ "content-type": "application/json", "content-length": "0" });
  });

  test("5.2 a DELETE is 204 without a body or a content type", async () => {
    const { gateway, path } = await reached();
    const { status, headers, body } = await manage(gateway, "DELETE", path);
    expect([status, body, headers["content-type"]]).toEqual([204, "", undefined]);
  });

  test("5.2 a GET is 200 with JSON in the layout of AWS", async () => {
    const { gateway, path } = await reached({ "user-agent": 'a "browser"' });
    const { status, headers, body } = await manage(gateway, "GET", path);
    expect([status, headers["content-type"]]).toEqual([200, "application/json"]);
    const instant = '"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z"';
    const lines = [
      "\\{",
      '  "identity" : \\{',
      '    "sourceIp" : "[0-9a-f.:]+",',
      '    "userAgent" : "a \\\\"browser\\\\""',
      "  \\},",
      `  "connectedAt" : ${instant},`,
      `  "lastActiveAt" : ${instant}`,
      "\\}",
    ];
    expect(body).toMatch(new RegExp(`^${lines.join("\n")}$`));
  });

  test("5.2 a GET has a null userAgent for a client that sent none", async () => {
    const { gateway, path } = await reached();
    const { body } = await manage(gateway, "GET", path);
    expect(JSON.parse(body).identity.userAgent).toBeNull();
  });

  test("5.2 a GET has the same connectedAt as the backend received", async () => {
    const { gateway, arrived, path } = await reached();
    const connectedAt = Number(headerOf(await arrived.called("connect"), "x-sallyport-connected-at"));
    const { body } = await manage(gateway, "GET", path);
    expect(JSON.parse(body).connectedAt).toBe(new Date(connectedAt).toISOString());
  });

  test("5.3 the SDK reads the times of a GET", async () => {
    const { gateway, id } = await reached();
    const client = await sdk(gateway);
    const { ConnectedAt, LastActiveAt } = await client.send(new GetConnectionCommand({ ConnectionId: id }));
    expect([ConnectedAt, LastActiveAt]).toEqual([expect.any(Date), expect.any(Date)]);
  });

  test.each(METHODS)("5.2 a %s has a request id, an id of the gateway, and a trace id", async (method) => {
    const { gateway, path } = await reached();
    const { headers } = await manage(gateway, method, path);
    expect(headers["x-amzn-requestid"]).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(headers["x-amz-apigw-id"]).toMatch(ID);
    expect(headers["x-amzn-trace-id"]).toMatch(/^Root=1-[0-9a-f]{8}-[0-9a-f]{24}/);
  });

  testLocally("§9.28 lastActiveAt is initially the time of the connect", "a clock", async () => {
    const { clock, lastActiveAt } = await timed();
    const opened = clock.now();
    clock.advance(5000);
    expect(await lastActiveAt()).toBe(opened);
  });

  testLocally("§9.28 lastActiveAt is the time of the last message of the client", "a clock", async () => {
    const { clock, arrived, lastActiveAt } = await timed();
    clock.advance(5000);
    await echo(arrived, "ok");
    clock.advance(5000);
    expect(await lastActiveAt()).toBe(clock.now() - 5000);
  });

  testLocally("§9.28 lastActiveAt is the time of the last post to the client", "a clock", async () => {
    const { gateway, clock, path, lastActiveAt } = await timed();
    clock.advance(5000);
    await manage(gateway, "POST", path, "x");
    clock.advance(5000);
    expect(await lastActiveAt()).toBe(clock.now() - 5000);
  });

  testLocally("§9.28 a ping does not change lastActiveAt", "a clock", async () => {
    const { clock, arrived, lastActiveAt } = await timed();
    const opened = clock.now();
    clock.advance(5000);
    write(arrived, frameOf("", { opcode: 9 }));
    await new Promise((resolve) => arrived.client.socket.once("pong", resolve));
    expect(await lastActiveAt()).toBe(opened);
  });

  /** Opens a gateway with a manual clock and a connected client. */
  async function timed() {
    const clock = new ManualClock();
    const gateway = await openGateway({ clock });
    const arrived = await connected(gateway);
    const path = at(await idOf(arrived));
    const lastActiveAt = async () => {
      const { body } = await manage(gateway, "GET", path);
      return Date.parse((JSON.parse(body) as { lastActiveAt: string }).lastActiveAt);
    };
    return { gateway, clock, arrived, path, lastActiveAt };
  }
});

describe("5.3 errors", () => {
  for (const method of METHODS) {
    test(`5.3 a ${method} of a closed connection is 410 GoneException without a body`, async () => {
      const { gateway, arrived, path } = await reached();
      arrived.client.socket.close();
      await arrived.called("disconnect");
      const { status, headers, body } = await manage(gateway, method, path);
      expect([status, headers["x-amzn-errortype"], body]).toEqual([410, "GoneException", ""]);
      expect(headers).toMatchObject({ "content-type": "application/json", "content-length": "0" });
    });

    test(`§9.14 a ${method} of an unknown id of 16 characters with = at the end is 410`, async () => {
      const { status, headers } = await manage(await openGateway(), method, at(UNKNOWN_ID));
      expect([status, headers["x-amzn-errortype"]]).toEqual([410, "GoneException"]);
    });

    test.each(["nothing", "L0SM9cOFvHcCIhwA", "L0SM9cOFvHcCIh=", "L0SM9cOFvHcCI+w=", "L0SM9cOFvHcCIh=="])(
      `§9.14 a ${method} of %s, which cannot be an id, is 400`,
      async (id) => {
        const { status, headers, body } = await manage(await openGateway(), method, at(id));
        expect([status, headers["x-amzn-errortype"]]).toEqual([400, "BadRequestException"]);
        expect(body).toBe(JSON.stringify({ message: `Invalid connectionId: ${id}` }));
      },
    );

    test(`5.3 a ${method} without the stage is 403 Forbidden`, async () => {
      const { gateway, path } = await reached();
      expectForbidden(await manage({ endpoint: new URL(gateway.endpoint).origin }, method, path));
    });

    test(`§9.15 a ${method} below an unknown stage is 403 Forbidden`, async () => {
      const { gateway, path } = await reached();
      expectForbidden(
        await manage({ endpoint: `${new URL(gateway.endpoint).origin}/nowhere` }, method, path),
      );
    });

    test(`§9.16 a double slash in the path of a ${method} is 403 Forbidden`, async () => {
      const { gateway, path } = await reached();
      expectForbidden(await manage({ endpoint: `${gateway.endpoint}/` }, method, path));
    });

    testLocally(
      `5.3 a ${method} at an AWS host with an unknown API is 403 Forbidden`,
      "a chosen Host header",
      async () => {
        const { gateway, path } = await reached();
        const host = "nobodys000.execute-api.eu-west-1.amazonaws.com";
        expectForbidden(await manage(gateway, method, path, "", host));
      },
    );
  }

  testLocally(
    "§9.30 a call that IAM denies has a message property in lower case",
    "a wrong signature",
    async () => {
      const { gateway, path } = await reached();
      const { body } = await http(gateway.endpoint, "GET", `/${gateway.stage}${path}`);
      expect(Object.keys(JSON.parse(body))).toEqual(["message"]);
    },
  );

  test("5.3 a POST of 128 KB is delivered completely", async () => {
    const { gateway, arrived, path } = await reached();
    const most = "x".repeat(128 * 1024);
    expect((await manage(gateway, "POST", path, most)).status).toBe(200);
    expect(await arrived.client.text()).toBe(most);
  });

  test("5.3 a larger POST is 413 PayloadTooLargeException with a message", async () => {
    const { gateway, path } = await reached();
    const { status, headers, body } = await manage(gateway, "POST", path, "x".repeat(128 * 1024 + 1));
    expect([status, headers["x-amzn-errortype"]]).toEqual([413, "PayloadTooLargeException"]);
    expect(JSON.parse(body)).toEqual({ message: expect.any(String) });
  });

  test("§9.17 a POST that is not UTF-8 is 400, and nothing is sent", async () => {
    const { gateway, arrived, path } = await reached();
    expect((await manage(gateway, "POST", path, Buffer.from([0xc3, 0x28]))).status).toBe(400);
    expect(await echo(arrived, "nothing before")).toBe("nothing before");
  });

  test("§9.18 a POST of 0 bytes is an empty text message", async () => {
    const { gateway, arrived, path } = await reached();
    expect((await manage(gateway, "POST", path)).status).toBe(200);
    expect(await arrived.client.message()).toEqual({ text: "", isBinary: false });
  });

  test("5.3 a POST by the SDK without Data is an empty text message", async () => {
    const { gateway, arrived, id } = await reached();
    const client = await sdk(gateway);
    await client.send(new PostToConnectionCommand({ ConnectionId: id, Data: undefined as never }));
    expect(await arrived.client.message()).toEqual({ text: "", isBinary: false });
  });

  test("5.3 the SDK throws its GoneException for a closed connection", async () => {
    const client = await sdk(await openGateway());
    for (const command of [
      new PostToConnectionCommand({ ConnectionId: UNKNOWN_ID, Data: "x" }),
      new GetConnectionCommand({ ConnectionId: UNKNOWN_ID }),
      new DeleteConnectionCommand({ ConnectionId: UNKNOWN_ID }),
    ]) {
      const error = await client.send(command as PostToConnectionCommand).catch((error) => error);
      expect(error).toBeInstanceOf(GoneException);
      expect([error.name, error.$metadata.httpStatusCode]).toEqual(["GoneException", 410]);
    }
  });

  test("5.3 the SDK throws its PayloadTooLargeException for a message that is too large", async () => {
    const { gateway, id } = await reached();
    const Data = "x".repeat(128 * 1024 + 1);
    const sending = (await sdk(gateway)).send(new PostToConnectionCommand({ ConnectionId: id, Data }));
    await expect(sending).rejects.toBeInstanceOf(PayloadTooLargeException);
  });

  test.each([
    ["without its stage", ""],
    ["with an extra slash", "STAGE/"],
  ])("5.3 the SDK throws its ForbiddenException for an endpoint %s", async (_what, path) => {
    const { gateway, id } = await reached();
    const endpoint = `${new URL(gateway.endpoint).origin}/${path.replace("STAGE", gateway.stage)}`;
    const sending = (await sdk({ endpoint })).send(
      new PostToConnectionCommand({ ConnectionId: id, Data: "x" }),
    );
    await expect(sending).rejects.toBeInstanceOf(ForbiddenException);
  });
});

describe("5.4 semantics", () => {
  test("5.4 a post is delivered to the client as one text message", async () => {
    const { gateway, arrived, path } = await reached();
    const data = '{"ü":"\u{1f600}"}';
    await manage(gateway, "POST", path, data);
    expect(await arrived.client.message()).toEqual({ text: data, isBinary: false });
  });

  test("5.4 posts that wait for each other keep their order", async () => {
    const { gateway, arrived, path } = await reached();
    for (const data of ["1", "2", "3"]) await manage(gateway, "POST", path, data);
    const { client } = arrived;
    expect([await client.text(), await client.text(), await client.text()]).toEqual(["1", "2", "3"]);
  });

  testLocally("§9.19 a long post is one message in frames of up to 32 KB", "access to frames", async () => {
    const gateway = await openGateway();
    const raw = new RawClient(gateway.local.port);
    raw.upgrade("/dev");
    await raw.head();
    const [id = ""] = gateway.local.connectionIds;
    await manage(gateway, "POST", at(id), "x".repeat(70 * 1024));
    const frames = [await raw.frame(), await raw.frame(), await raw.frame()];
    expect(frames.map(({ opcode, fin, payload }) => [opcode, fin, payload.length])).toEqual([
      [1, false, 32 * 1024],
      [0, false, 32 * 1024],
      [0, true, 6 * 1024],
    ]);
  });

  test("5.4 a DELETE closes the client with 1000 Connection Closed Normally", async () => {
    const { gateway, arrived, path } = await reached();
    await manage(gateway, "DELETE", path);
    expect(await arrived.client.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
  });

  test("5.4 the $disconnect after a DELETE has the same code and reason", async () => {
    const { gateway, arrived, path } = await reached();
    await manage(gateway, "DELETE", path);
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1000");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("Connection Closed Normally");
  });

  test("5.4 after a DELETE the connection is gone immediately", async () => {
    const { gateway, arrived, path } = await reached();
    // So it does not answer the close frame.
    arrived.client.socket.pause();
    expect((await manage(gateway, "DELETE", path)).status).toBe(204);
    for (const method of METHODS) expect((await manage(gateway, method, path)).status, method).toBe(410);
  });

  test("5.4 a connection is 410 while its $connect is pending, and exists after that", async () => {
    const gateway = await openGateway();
    const arrived = connect(gateway, { hold: 1 });
    const path = at(await idOf(arrived));
    for (const method of METHODS) expect((await manage(gateway, method, path)).status, method).toBe(410);
    await arrived.release();
    await arrived.client.opened;
    expect((await manage(gateway, "POST", path, "now")).status).toBe(200);
    expect(await arrived.client.text()).toBe("now");
  });

  test("5.4 a connection is already 410 when its $disconnect arrives", async () => {
    const { gateway, arrived, path } = await reached();
    arrived.client.socket.close(1000);
    await arrived.called("disconnect");
    expect((await manage(gateway, "POST", path, "too late")).status).toBe(410);
  });
});
