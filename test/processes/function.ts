/** A function that answers two events and is left alone. Tells what keeps its process alive then. */

import { createSallyport, handler, WebSocketView } from "sallyport";
import { lambdaHandler } from "sallyport/adapters/lambda";
import { storyStorage } from "./storage.ts";

class OpenView extends WebSocketView {
  override allowAnonymous = true;
  say = handler(async ({ to }) => {
    void to("everyone").send("said");
  });
}

const sallyport = createSallyport({
  storage: storyStorage(),
  permissions: [],
  views: { "/ws/open": OpenView },
  origins: ["none"],
  identify: () => null,
});
const invoke = lambdaHandler(sallyport);
const context = {
  connectionId: "AAAAAAAAAAAAAAA=",
  apiId: "abc",
  stage: "dev",
  identity: { sourceIp: "192.0.2.1" },
};
const answers = [
  await invoke({ requestContext: { ...context, eventType: "CONNECT", routeKey: "$connect" } }),
  await invoke({
    requestContext: { ...context, eventType: "MESSAGE", routeKey: "$default" },
    body: '{"handler":"say"}',
  }),
];
const timers = process.getActiveResourcesInfo().filter((kind) => /Timeout|Immediate/.test(kind));
console.log(JSON.stringify({ statuses: answers.map(({ statusCode }) => statusCode), timers }));
