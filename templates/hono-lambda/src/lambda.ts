import type { Context } from "aws-lambda";
import { handle, type LambdaEvent } from "hono/aws-lambda";
import { lambdaHandler, type WebSocketEvent } from "sallyport/adapters/lambda";
import { app } from "./app.ts";
import { sallyport } from "./sallyport.ts";

const pages = handle(app);
const webSocket = lambdaHandler(sallyport);

/** One function for the events of the WebSocket API, for a schedule, and for the HTTP API. */
export const handler = (event: LambdaEvent | WebSocketEvent, context: Context) =>
  isPageRequest(event) ? pages(event, context) : webSocket(event, context);

function isPageRequest(event: LambdaEvent | WebSocketEvent): event is LambdaEvent {
  return "version" in event && event.version === "2.0";
}
