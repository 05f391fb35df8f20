import {
  ApiGatewayManagementApiClient,
  GoneException,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import { describe, expect, onTestFinished, test } from "vitest";
import { ManualClock } from "../../../src/local/emulator.ts";
import {
  arriving,
  at,
  connected,
  handshake,
  headerOf,
  http,
  idOf,
  manage,
  onDesk,
  openDesk,
} from "./desk.ts";

describe("5.1 addresses", () => {
  test("5.1 the id is percent-encoded, and %40 may stand for @", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    const id = await idOf(arrived);
    expect(at(id)).toContain("%3D");
    expect((await manage(desk, "POST", at(id), "one")).status).toBe(200);
    expect((await manage(desk, "POST", at(id).replace("@", "%40"), "two")).status).toBe(200);
    expect([await arrived.client.text(), await arrived.client.text()]).toEqual(["one", "two"]);
  });

  test("5.3, §9.15, §9.16 without the stage, below another one, or with two slashes it is 403 Forbidden", async () => {
    const desk = await openDesk();
    const id = await idOf(await connected(desk));
    const host = desk.endpoint.replace(/\/[^/]*$/, "");
    for (const endpoint of [host, `${host}/nowhere`, `${desk.endpoint}/`]) {
      const { status, headers, body } = await manage({ endpoint }, "POST", at(id), "x");
      expect([status, headers["x-amzn-errortype"], body], endpoint).toEqual([
        403,
        "ForbiddenException",
        '{"message":"Forbidden"}',
      ]);
    }
  });

  onDesk(
    "5.1 a call that nobody signed, or another, is 403, and a good signature of the SDK's passes",
    async () => {
      const desk = await openDesk();
      const arrived = await connected(desk);
      const id = await idOf(arrived);
      const path = `/${desk.stage}${at(id)}`;
      const unsigned = await http(desk.endpoint, "POST", path, { body: "x" });
      expect([unsigned.status, unsigned.headers["x-amzn-errortype"]]).toEqual([403, "AccessDeniedException"]);
      const send = async (accessKeyId: string, secretAccessKey: string, region = "eu-west-1") => {
        const client = new ApiGatewayManagementApiClient({
          endpoint: desk.endpoint,
          region,
          credentials: { accessKeyId, secretAccessKey },
          maxAttempts: 1,
        });
        onTestFinished(() => client.destroy());
        return client.send(new PostToConnectionCommand({ ConnectionId: id, Data: "hello" })).then(
          () => "sent",
          (error: Error) => error.name,
        );
      };
      expect(await send("AKIDEXAMPLE", "another")).toBe("AccessDeniedException");
      expect(await send("AKIDOTHER", "not/a+secret")).toBe("AccessDeniedException");
      expect(await send("AKIDEXAMPLE", "not/a+secret")).toBe("sent");
      expect(await arrived.client.text()).toBe("hello");
    },
  );

  onDesk(
    "5.1 what was signed cannot be sent with another body, to another connection, or later",
    async () => {
      const desk = await openDesk();
      const [one, other] = [await connected(desk), await connected(desk)];
      const { bySmithy } = await import("../by-smithy.ts");
      const key = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" };
      const signed = async (now: number) => {
        const path = `/${desk.stage}${at(await idOf(one))}`;
        const call = { method: "POST" as const, host: new URL(desk.endpoint).host, path, body: "hello" };
        return { path, headers: await bySmithy("eu-west-1", key, call, now) };
      };
      const { path, headers } = await signed(Date.now());
      expect((await http(desk.endpoint, "POST", path, { headers, body: "bye" })).status).toBe(403);
      const elsewhere = `/${desk.stage}${at(await idOf(other))}`;
      expect((await http(desk.endpoint, "POST", elsewhere, { headers, body: "hello" })).status).toBe(403);
      const late = await signed(Date.now() - 6 * 60_000);
      expect(
        (await http(desk.endpoint, "POST", late.path, { headers: late.headers, body: "hello" })).body,
      ).toMatch(/expired/);
      expect((await http(desk.endpoint, "POST", path, { headers, body: "hello" })).status).toBe(200);
    },
  );
});

describe("5.2 success on the wire", () => {
  test("5.2 POST is 200 without a body, and one text message", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    const { status, headers, body } = await manage(
      desk,
      "POST",
      at(await idOf(arrived)),
      '{"ü":"\u{1f600}"}',
    );
    expect([status, body, headers["content-length"], headers["content-type"]]).toEqual([
      200,
      "",
      "0",
      "application/json",
    ]);
    expect(headers["x-amzn-requestid"]).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers["x-amz-apigw-id"]).toMatch(/^[A-Za-z0-9_-]{15}=$/);
    expect(await arrived.client.message()).toEqual({ text: '{"ü":"\u{1f600}"}', isBinary: false });
  });

  test("5.2 DELETE is 204, the client is closed with 1000, and $disconnect says so", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    const { status, body } = await manage(desk, "DELETE", at(await idOf(arrived)));
    expect([status, body]).toEqual([204, ""]);
    expect(await arrived.client.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
    expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe("1000");
  });

  test("5.2 GET describes the connection in AWS's own layout", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk, {}, { headers: { "user-agent": "node" } });
    const { status, body } = await manage(desk, "GET", at(await idOf(arrived)));
    expect(status).toBe(200);
    expect(body).toMatch(
      /^\{\n {2}"identity" : \{\n {4}"sourceIp" : "[^"]+",\n {4}"userAgent" : "node"\n {2}\},\n {2}"connectedAt" : "\d{4}-\d\d-\d\dT[\d:.]{12}Z",\n {2}"lastActiveAt" : "\d{4}-\d\d-\d\dT[\d:.]{12}Z"\n\}$/,
    );
  });
});

onDesk("§9.28 lastActiveAt is the time of the last data in either direction", async () => {
  const clock = new ManualClock();
  const desk = await openDesk({ clock });
  const arrived = await connected(desk);
  const id = await idOf(arrived);
  const lastActiveAt = async () => {
    const { body } = await manage(desk, "GET", at(id));
    return Date.parse((JSON.parse(body) as { lastActiveAt: string }).lastActiveAt);
  };
  const opened = await lastActiveAt();
  clock.advance(5000);
  arrived.client.socket.send("{}");
  await arrived.client.text();
  expect(await lastActiveAt()).toBe(opened + 5000);
  clock.advance(5000);
  await manage(desk, "POST", at(id), "x");
  expect(await lastActiveAt()).toBe(opened + 10_000);
});

describe("5.3 errors", () => {
  test("5.3 a connection that is gone, or never was, is 410 without a body", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    const id = await idOf(arrived);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    for (const gone of [id, "L0SM9cOFvHcCIhw="]) {
      for (const method of ["POST", "GET", "DELETE"] as const) {
        const { status, headers, body } = await manage(desk, method, at(gone));
        expect([status, headers["x-amzn-errortype"], headers["content-length"], body], method).toEqual([
          410,
          "GoneException",
          "0",
          "",
        ]);
      }
    }
  });

  test("5.3, §9.14 a malformed id is 400", async () => {
    const desk = await openDesk();
    const { status, headers, body } = await manage(desk, "POST", "/@connections/nothing", "x");
    expect([status, headers["x-amzn-errortype"], body]).toEqual([
      400,
      "BadRequestException",
      '{"message":"Invalid connectionId: nothing"}',
    ]);
  });

  test("5.3 more than 128 KB is 413, and 128 KB arrive", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    const id = await idOf(arrived);
    const most = "x".repeat(128 * 1024);
    const refused = await manage(desk, "POST", at(id), `${most}x`);
    expect([refused.status, refused.headers["x-amzn-errortype"]]).toEqual([413, "PayloadTooLargeException"]);
    expect((await manage(desk, "POST", at(id), most)).status).toBe(200);
    expect(await arrived.client.text()).toBe(most);
  });

  test("5.3, §9.17, §9.18 no bytes are an empty message, and what is no UTF-8 is refused", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    const id = await idOf(arrived);
    expect((await manage(desk, "POST", at(id))).status).toBe(200);
    expect(await arrived.client.text()).toBe("");
    expect((await manage(desk, "POST", at(id), Buffer.from([0xff, 0xfe]))).status).toBe(400);
  });

  onDesk("5.3 the SDK reads a gone connection as its own GoneException", async () => {
    const desk = await openDesk();
    const client = new ApiGatewayManagementApiClient({
      endpoint: desk.endpoint,
      region: "eu-west-1",
      credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" },
    });
    onTestFinished(() => client.destroy());
    const posting = client.send(new PostToConnectionCommand({ ConnectionId: "L0SM9cOFvHcCIhw=", Data: "x" }));
    await expect(posting).rejects.toBeInstanceOf(GoneException);
  });
});

describe("5.4 semantics", () => {
  test("5.4 while $connect is being answered its connection is 410", async () => {
    const desk = await openDesk();
    const arrived = arriving(desk, { delayMs: 250 });
    const id = headerOf(await arrived.called("connect"), "connectionId") ?? "";
    expect((await manage(desk, "POST", at(id), "too early")).status).toBe(410);
    await arrived.client.opened;
    expect((await manage(desk, "POST", at(id), "now")).status).toBe(200);
    expect(await arrived.client.text()).toBe("now");
  });

  onDesk("5.4 a stage posts to its own connections only", async () => {
    const { backend } = await openDesk();
    const integration = {
      type: "HTTP_PROXY" as const,
      uri: `${backend}/ws/connect`,
      requestParameters: { "integration.request.header.connectionId": "context.connectionId" },
    };
    const desk = await openDesk({
      apis: [{ routes: { $connect: { integration } }, stages: { one: {}, two: {} } }],
    });
    const id = await idOf(await connected({ url: desk.url, backend }));
    expect((await manage(desk, "POST", at(id), "x")).status).toBe(200);
    const other = desk.endpoint.replace(/one$/, "two");
    expect((await manage({ endpoint: other }, "POST", at(id), "x")).status).toBe(410);
    expect(await handshake({ url: desk.url.replace(/one$/, "two"), backend })).toBe(101);
  });
});
