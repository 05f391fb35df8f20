import { Hono } from "hono";
import { handle } from "hono/aws-lambda";
import { honoMiddleware } from "../../../src/adapters/hono.ts";
import { type LambdaContext, lambdaHandler, type WebSocketEvent } from "../../../src/adapters/lambda.ts";
import { RAW_PATH } from "../names.ts";
import { sallyport } from "./app.ts";
import { type Command, perform, type RecordedEvent, record } from "./commands.ts";
import { answerProbe, type Probe, type ProbedEvent, probeOf } from "./probe.ts";

const http = new Hono();
http.use(honoMiddleware(sallyport, { start: false }));
http.post(RAW_PATH, async (context) => {
  const { probe } = (await context.req.json()) as { readonly probe?: Probe };
  if (probe?.kind !== "status") return context.body(null, 400);
  return new Response(probe.body ?? null, { status: probe.status });
});

const urlHandler = handle(http);
const webSocket = lambdaHandler(sallyport);

type Event = { readonly command: Command } | RecordedEvent;

/** Serves the commands of the run, requests to the URL of the function, and the events of the API. */
export async function handler(event: Event, context: LambdaContext): Promise<unknown> {
  if (isCommand(event)) return perform(event.command);
  record(event);
  // The body of a request is a string in the event, so that it cannot contain a command.
  if (event.version === "2.0") return urlHandler(event as never, context as never);
  const probe = probeOf(event as unknown as ProbedEvent);
  if (probe) return answerProbe(probe, event as unknown as ProbedEvent);
  return webSocket(event as WebSocketEvent, context);
}

function isCommand(event: Event): event is { readonly command: Command } {
  return "command" in event && !("requestContext" in event);
}
