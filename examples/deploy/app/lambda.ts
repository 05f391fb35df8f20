import { lambdaHandler } from "sallyport/adapters/lambda";
import { sallyport } from "./sallyport.ts";

/** Serves the events of the WebSocket API, and a schedule. */
export const handler = lambdaHandler(sallyport);
