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
  type Desk,
  echo,
  type HttpAnswer,
  headerOf,
  http,
  ID,
  idOf,
  LOCAL_KEY,
  manage,
  NOBODY,
  onDesk,
  openDesk,
  sdk,
  write,
} from "./desk.ts";

const METHODS = ["POST", "GET", "DELETE"] as const;

/** A desk with a client, and the path that is the client's. */
async function reached(headers: Record<string, string> = {}) {
  const desk = await openDesk();
  const arrived = await connected(desk, {}, { headers });
  const id = await idOf(arrived);
  return { desk, arrived, id, path: at(id) };
}

function expectForbidden({ status, headers, body }: HttpAnswer): void {
  expect([status, headers["x-amzn-errortype"], body]).toEqual([
    403,
    "ForbiddenException",
    '{"message":"Forbidden"}',
  ]);
}

describe("5.1 addresses", () => {
  test("5.1 a connection is reached by its id, percent-encoded", async () => {
    const { desk, arrived, path } = await reached();
    expect(path).toMatch(/%3D$/);
    expect((await manage(desk, "POST", path, "hello")).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });

  test("5.1 %40connections is taken as well", async () => {
    const { desk, arrived, path } = await reached();
    expect((await manage(desk, "POST", path.replace("@", "%40"), "hello")).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });

  test("5.1 the SDK reaches it by the endpoint with its stage", async () => {
    const { desk, arrived, id } = await reached();
    const client = await sdk(desk);
    await client.send(new PostToConnectionCommand({ ConnectionId: id, Data: "hello" }));
    expect(await arrived.client.text()).toBe("hello");
  });

  onDesk("5.1 a call that is not signed is refused with 403", "no signature", async () => {
    const { desk, path } = await reached();
    for (const method of METHODS) {
      const { status, headers } = await http(desk.endpoint, method, `/${desk.stage}${path}`);
      expect([status, headers["x-amzn-errortype"]], method).toEqual([403, "AccessDeniedException"]);
    }
  });

  for (const [what, key] of [
    ["another secret", { ...LOCAL_KEY, secretAccessKey: "another" }],
    ["another key", { ...LOCAL_KEY, accessKeyId: "AKIDOTHER" }],
  ] as const) {
    onDesk(`5.1 a call that is signed by ${what} is refused with 403`, "a wrong signature", async () => {
      const { desk, id } = await reached();
      const sending = (await sdk(desk, key)).send(
        new PostToConnectionCommand({ ConnectionId: id, Data: "x" }),
      );
      await expect(sending).rejects.toMatchObject({
        name: "AccessDeniedException",
        $metadata: { httpStatusCode: 403 },
      });
    });
  }

  onDesk(
    "5.1 a call that is signed for another region is refused where the gateway has one",
    "a region",
    async () => {
      const desk = await openDesk({ credentials: { ...LOCAL_KEY, region: "us-east-1" } });
      expect((await manage(desk, "POST", at(NOBODY), "x")).status).toBe(403);
    },
  );

  /** A post as it is signed, to be sent otherwise. */
  async function signed(
    { desk, path }: { desk: Desk; path: string },
    { body = "hello", at = Date.now() }: { body?: string; at?: number } = {},
  ) {
    const whole = `/${desk.stage}${path}`;
    const { host } = new URL(desk.endpoint);
    const call = { method: "POST", host, path: whole, body } as const;
    return { path: whole, headers: await bySmithy("eu-west-1", LOCAL_KEY, call, at) };
  }

  onDesk("5.1 what was signed can be sent", "a signature made by hand", async () => {
    const client = await reached();
    const { path, headers } = await signed(client);
    expect((await http(client.desk.endpoint, "POST", path, { headers, body: "hello" })).status).toBe(200);
  });

  onDesk("5.1 what was signed cannot be sent with another body", "a broken signature", async () => {
    const client = await reached();
    const { path, headers } = await signed(client);
    expect((await http(client.desk.endpoint, "POST", path, { headers, body: "bye" })).status).toBe(403);
    expect(client.arrived.client.unread).toBe(0);
  });

  onDesk("5.1 what was signed cannot be sent to another connection", "a broken signature", async () => {
    const client = await reached();
    const { headers } = await signed(client);
    const path = `/${client.desk.stage}${at(await idOf(await connected(client.desk)))}`;
    expect((await http(client.desk.endpoint, "POST", path, { headers, body: "hello" })).status).toBe(403);
  });

  onDesk("5.1 what was signed cannot be sent by another method", "a broken signature", async () => {
    const client = await reached();
    const { path, headers } = await signed(client, { body: "" });
    expect((await http(client.desk.endpoint, "DELETE", path, { headers })).status).toBe(403);
    expect(await echo(client.arrived, "still open")).toBe("still open");
  });

  for (const minutes of [-6, 6]) {
    onDesk(`5.1 what was signed ${minutes} minutes from now is refused`, "a wrong clock", async () => {
      const client = await reached();
      const { path, headers } = await signed(client, { at: Date.now() + minutes * 60_000 });
      const { status, body } = await http(client.desk.endpoint, "POST", path, { headers, body: "hello" });
      expect([status, body]).toEqual([403, '{"message":"Signature expired or not yet current."}']);
    });
  }
});

describe("5.2 success on the wire", () => {
  test("5.2 a POST is 200 without a body", async () => {
    const { desk, path } = await reached();
    const { status, headers, body } = await manage(desk, "POST", path, "x");
    expect([status, body]).toEqual([200, ""]);
    expect(headers).toMatchObject({ "content-type": "application/json", "content-length": "0" });
  });

  test("5.2 a DELETE is 204 without a body or a content type", async () => {
    const { desk, path } = await reached();
    const { status, headers, body } = await manage(desk, "DELETE", path);
    expect([status, body, headers["content-type"]]).toEqual([204, "", undefined]);
  });

  test("5.2 a GET is 200 with JSON in AWS's own layout", async () => {
    const { desk, path } = await reached({ "user-agent": 'a "browser"' });
    const { status, headers, body } = await manage(desk, "GET", path);
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

  test("5.2 a GET says null of a client without an agent", async () => {
    const { desk, path } = await reached();
    const { body } = await manage(desk, "GET", path);
    expect(JSON.parse(body).identity.userAgent).toBeNull();
  });

  test("5.2 a GET says when the client connected, as its backend was told", async () => {
    const { desk, arrived, path } = await reached();
    const connectedAt = Number(headerOf(await arrived.called("connect"), "x-sallyport-connected-at"));
    const { body } = await manage(desk, "GET", path);
    expect(JSON.parse(body).connectedAt).toBe(new Date(connectedAt).toISOString());
  });

  test("5.3 the SDK reads the instants of a GET", async () => {
    const { desk, id } = await reached();
    const client = await sdk(desk);
    const { ConnectedAt, LastActiveAt } = await client.send(new GetConnectionCommand({ ConnectionId: id }));
    expect([ConnectedAt, LastActiveAt]).toEqual([expect.any(Date), expect.any(Date)]);
  });

  test.each(METHODS)("5.2 a %s has a request id, an id of the gateway's, and a trace", async (method) => {
    const { desk, path } = await reached();
    const { headers } = await manage(desk, method, path);
    expect(headers["x-amzn-requestid"]).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(headers["x-amz-apigw-id"]).toMatch(ID);
    expect(headers["x-amzn-trace-id"]).toMatch(/^Root=1-[0-9a-f]{8}-[0-9a-f]{24}/);
  });

  onDesk("§9.28 lastActiveAt is when the connection was opened, at first", "a clock", async () => {
    const { clock, lastActiveAt } = await timed();
    const opened = clock.now();
    clock.advance(5000);
    expect(await lastActiveAt()).toBe(opened);
  });

  onDesk("§9.28 lastActiveAt is the time of the client's last message", "a clock", async () => {
    const { clock, arrived, lastActiveAt } = await timed();
    clock.advance(5000);
    await echo(arrived, "ok");
    clock.advance(5000);
    expect(await lastActiveAt()).toBe(clock.now() - 5000);
  });

  onDesk("§9.28 lastActiveAt is the time of the last post to the client", "a clock", async () => {
    const { desk, clock, path, lastActiveAt } = await timed();
    clock.advance(5000);
    await manage(desk, "POST", path, "x");
    clock.advance(5000);
    expect(await lastActiveAt()).toBe(clock.now() - 5000);
  });

  onDesk("§9.28 a ping does not move lastActiveAt", "a clock", async () => {
    const { clock, arrived, lastActiveAt } = await timed();
    const opened = clock.now();
    clock.advance(5000);
    write(arrived, frameOf("", { opcode: 9 }));
    await new Promise((resolve) => arrived.client.socket.once("pong", resolve));
    expect(await lastActiveAt()).toBe(opened);
  });

  /** A client of a desk whose time stands still. */
  async function timed() {
    const clock = new ManualClock();
    const desk = await openDesk({ clock });
    const arrived = await connected(desk);
    const path = at(await idOf(arrived));
    const lastActiveAt = async () => {
      const { body } = await manage(desk, "GET", path);
      return Date.parse((JSON.parse(body) as { lastActiveAt: string }).lastActiveAt);
    };
    return { desk, clock, arrived, path, lastActiveAt };
  }
});

describe("5.3 errors", () => {
  for (const method of METHODS) {
    test(`5.3 a ${method} of a connection that is gone is 410 GoneException without a body`, async () => {
      const { desk, arrived, path } = await reached();
      arrived.client.socket.close();
      await arrived.called("disconnect");
      const { status, headers, body } = await manage(desk, method, path);
      expect([status, headers["x-amzn-errortype"], body]).toEqual([410, "GoneException", ""]);
      expect(headers).toMatchObject({ "content-type": "application/json", "content-length": "0" });
    });

    test(`§9.14 a ${method} of 16 characters that end with = and were never an id is 410`, async () => {
      const { status, headers } = await manage(await openDesk(), method, at(NOBODY));
      expect([status, headers["x-amzn-errortype"]]).toEqual([410, "GoneException"]);
    });

    test.each(["nothing", "L0SM9cOFvHcCIhwA", "L0SM9cOFvHcCIh=", "L0SM9cOFvHcCI+w=", "L0SM9cOFvHcCIh=="])(
      `§9.14 a ${method} of %s, which no id can be, is 400`,
      async (id) => {
        const { status, headers, body } = await manage(await openDesk(), method, at(id));
        expect([status, headers["x-amzn-errortype"]]).toEqual([400, "BadRequestException"]);
        expect(body).toBe(JSON.stringify({ message: `Invalid connectionId: ${id}` }));
      },
    );

    test(`5.3 a ${method} without the stage is 403 Forbidden`, async () => {
      const { desk, path } = await reached();
      expectForbidden(await manage({ endpoint: new URL(desk.endpoint).origin }, method, path));
    });

    test(`§9.15 a ${method} below a stage that does not exist is 403 Forbidden`, async () => {
      const { desk, path } = await reached();
      expectForbidden(await manage({ endpoint: `${new URL(desk.endpoint).origin}/nowhere` }, method, path));
    });

    test(`§9.16 a double slash in the path of a ${method} is 403 Forbidden`, async () => {
      const { desk, path } = await reached();
      expectForbidden(await manage({ endpoint: `${desk.endpoint}/` }, method, path));
    });

    onDesk(
      `5.3 a ${method} at a host of AWS's whose API does not exist is 403 Forbidden`,
      "a host of one's choice",
      async () => {
        const { desk, path } = await reached();
        const host = "nobodys000.execute-api.eu-west-1.amazonaws.com";
        expectForbidden(await manage(desk, method, path, "", host));
      },
    );
  }

  onDesk("§9.30 a call that IAM denies has a message, in lower case", "a wrong signature", async () => {
    const { desk, path } = await reached();
    const { body } = await http(desk.endpoint, "GET", `/${desk.stage}${path}`);
    expect(Object.keys(JSON.parse(body))).toEqual(["message"]);
  });

  test("5.3 a POST of 128 KB arrives whole", async () => {
    const { desk, arrived, path } = await reached();
    const most = "x".repeat(128 * 1024);
    expect((await manage(desk, "POST", path, most)).status).toBe(200);
    expect(await arrived.client.text()).toBe(most);
  });

  test("5.3 a POST of one byte more is 413 PayloadTooLargeException with a message", async () => {
    const { desk, path } = await reached();
    const { status, headers, body } = await manage(desk, "POST", path, "x".repeat(128 * 1024 + 1));
    expect([status, headers["x-amzn-errortype"]]).toEqual([413, "PayloadTooLargeException"]);
    expect(JSON.parse(body)).toEqual({ message: expect.any(String) });
  });

  test("§9.17 a POST of what is no UTF-8 is 400, and nothing is sent", async () => {
    const { desk, arrived, path } = await reached();
    expect((await manage(desk, "POST", path, Buffer.from([0xc3, 0x28]))).status).toBe(400);
    expect(await echo(arrived, "nothing before")).toBe("nothing before");
  });

  test("§9.18 a POST of no bytes is an empty text message", async () => {
    const { desk, arrived, path } = await reached();
    expect((await manage(desk, "POST", path)).status).toBe(200);
    expect(await arrived.client.message()).toEqual({ text: "", isBinary: false });
  });

  test("5.3 a POST by the SDK without Data is an empty text message", async () => {
    const { desk, arrived, id } = await reached();
    const client = await sdk(desk);
    await client.send(new PostToConnectionCommand({ ConnectionId: id, Data: undefined as never }));
    expect(await arrived.client.message()).toEqual({ text: "", isBinary: false });
  });

  test("5.3 the SDK reads a gone connection as its GoneException", async () => {
    const client = await sdk(await openDesk());
    for (const command of [
      new PostToConnectionCommand({ ConnectionId: NOBODY, Data: "x" }),
      new GetConnectionCommand({ ConnectionId: NOBODY }),
      new DeleteConnectionCommand({ ConnectionId: NOBODY }),
    ]) {
      const error = await client.send(command as PostToConnectionCommand).catch((error) => error);
      expect(error).toBeInstanceOf(GoneException);
      expect([error.name, error.$metadata.httpStatusCode]).toEqual(["GoneException", 410]);
    }
  });

  test("5.3 the SDK reads a message that is too large as its PayloadTooLargeException", async () => {
    const { desk, id } = await reached();
    const Data = "x".repeat(128 * 1024 + 1);
    const sending = (await sdk(desk)).send(new PostToConnectionCommand({ ConnectionId: id, Data }));
    await expect(sending).rejects.toBeInstanceOf(PayloadTooLargeException);
  });

  test.each([
    ["without its stage", ""],
    ["with a slash too many", "STAGE/"],
  ])("5.3 the SDK reads an endpoint %s as its ForbiddenException", async (_what, path) => {
    const { desk, id } = await reached();
    const endpoint = `${new URL(desk.endpoint).origin}/${path.replace("STAGE", desk.stage)}`;
    const sending = (await sdk({ endpoint })).send(
      new PostToConnectionCommand({ ConnectionId: id, Data: "x" }),
    );
    await expect(sending).rejects.toBeInstanceOf(ForbiddenException);
  });
});

describe("5.4 semantics", () => {
  test("5.4 what is posted reaches the client as one text message", async () => {
    const { desk, arrived, path } = await reached();
    const data = '{"ü":"\u{1f600}"}';
    await manage(desk, "POST", path, data);
    expect(await arrived.client.message()).toEqual({ text: data, isBinary: false });
  });

  test("5.4 posts that wait for each other arrive in their order", async () => {
    const { desk, arrived, path } = await reached();
    for (const data of ["1", "2", "3"]) await manage(desk, "POST", path, data);
    const { client } = arrived;
    expect([await client.text(), await client.text(), await client.text()]).toEqual(["1", "2", "3"]);
  });

  onDesk("§9.19 a long post is one message in frames of up to 32 KB", "a look at the frames", async () => {
    const desk = await openDesk();
    const raw = new RawClient(desk.local.port);
    raw.upgrade("/dev");
    await raw.head();
    const [id = ""] = desk.local.connectionIds;
    await manage(desk, "POST", at(id), "x".repeat(70 * 1024));
    const frames = [await raw.frame(), await raw.frame(), await raw.frame()];
    expect(frames.map(({ opcode, fin, payload }) => [opcode, fin, payload.length])).toEqual([
      [1, false, 32 * 1024],
      [0, false, 32 * 1024],
      [0, true, 6 * 1024],
    ]);
  });

  test("5.4 a DELETE closes the client with 1000 Connection Closed Normally", async () => {
    const { desk, arrived, path } = await reached();
    await manage(desk, "DELETE", path);
    expect(await arrived.client.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
  });

  test("5.4 the $disconnect after a DELETE says so", async () => {
    const { desk, arrived, path } = await reached();
    await manage(desk, "DELETE", path);
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1000");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("Connection Closed Normally");
  });

  test("5.4 after a DELETE the connection is gone at once", async () => {
    const { desk, arrived, path } = await reached();
    // So it does not answer the close frame meanwhile.
    arrived.client.socket.pause();
    expect((await manage(desk, "DELETE", path)).status).toBe(204);
    for (const method of METHODS) expect((await manage(desk, method, path)).status, method).toBe(410);
  });

  test("5.4 while $connect is being answered its connection is 410, and after that it is there", async () => {
    const desk = await openDesk();
    const arrived = connect(desk, { hold: 1 });
    const path = at(await idOf(arrived));
    for (const method of METHODS) expect((await manage(desk, method, path)).status, method).toBe(410);
    await arrived.release();
    await arrived.client.opened;
    expect((await manage(desk, "POST", path, "now")).status).toBe(200);
    expect(await arrived.client.text()).toBe("now");
  });

  test("5.4 when $disconnect arrives its own connection is 410 already", async () => {
    const { desk, arrived, path } = await reached();
    arrived.client.socket.close(1000);
    await arrived.called("disconnect");
    expect((await manage(desk, "POST", path, "too late")).status).toBe(410);
  });
});
