/** A function that answers two events and then idles. Prints what keeps its process running. */

import { createSallyport, handler, WebSocketView } from "sallyport";
import { lambdaHandler } from "sallyport/adapters/lambda";
import { testStorage } from "./storage.ts";

/** All timers of Sallyport, including those that do not keep a process running. */
const timers: NodeJS.Timeout[] = [];
const { setTimeout: make } = globalThis;
globalThis.setTimeout = Object.assign((...given: Parameters<typeof make>) => {
  const timer = make(...given);
  // Libraries have their own timers, which stop when they are not needed.
  const [, , caller = ""] = new Error().stack?.split("\n") ?? [];
  if (!caller.includes("node_modules")) timers.push(timer);
  return timer;
}, make);

class OpenView extends WebSocketView {
  static override allowAnonymous = true;
  say = handler(async ({ to }) => {
    void to("everyone").send("said");
  });
}

const sallyport = createSallyport({
  storage: testStorage(),
  permissions: [],
  views: { "/ws/open": OpenView },
  allowMissingOrigin: true,
  authenticate: () => null,
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
const running = timers.filter((timer) => !(timer as unknown as { _destroyed: boolean })._destroyed);
const statuses = answers.map(({ statusCode }) => statusCode);
console.log(JSON.stringify({ statuses, made: timers.length > 0, running: running.length }));
