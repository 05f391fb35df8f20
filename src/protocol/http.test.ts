import { expect, test } from "vitest";
import { webCall } from "./http.ts";

const post = (body: BodyInit) =>
  new Request("http://localhost/ws/chat/default", { method: "POST", body, duplex: "half" } as RequestInit);

test.each<[what: string, read: (request: Request) => unknown]>([
  ["was read", (request) => request.text()],
  ["is being read", (request) => request.body?.getReader()],
])("throws a ConfigurationError if the body %s before Sallyport could read it", async (_what, read) => {
  const request = post("hello");
  await read(request);
  await expect(webCall(request).body(100)).rejects.toMatchObject({
    name: "ConfigurationError",
    message: expect.stringMatching(/^The body of the request was read before Sallyport could read it\./),
  });
});

test("keeps the error of an interrupted body as the cause", async () => {
  const broken = new Error("connection reset");
  const body = new ReadableStream({ pull: (controller) => controller.error(broken) });
  await expect(webCall(post(body)).body(100)).rejects.toMatchObject({
    name: "BadRequestError",
    status: 400,
    cause: broken,
  });
});

test("returns a body that was not read before", async () => {
  expect(Buffer.from(await webCall(post("hello")).body(100)).toString()).toBe("hello");
});
