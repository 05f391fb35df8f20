const { createTestApp } = require("sallyport/testing");
const { chat, sallyport } = require("./sallyport.js");

test("answers a user who has the permission, and denies another one", async () => {
  const harness = await createTestApp(sallyport);
  try {
    const ann = await harness.connectAs("ann", { permissions: [chat.can_use_chat] });
    expect(await ann.call.whoami()).toEqual({ user: "ann" });
    await harness.expectForbidden("eve");
  } finally {
    await harness.close();
  }
});

test.each([
  "sallyport/adapters/express",
  "sallyport/adapters/fastify",
  "sallyport/adapters/hono",
  "sallyport/adapters/lambda",
  "sallyport/adapters/next",
  "sallyport/adapters/node",
  "sallyport/client",
  "sallyport/local",
  "sallyport/storage/postgres",
])("loads %s", (name) => {
  expect(Object.keys(require(name)).length).toBeGreaterThan(0);
});
