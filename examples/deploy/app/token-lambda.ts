import { Hono } from "hono";
import { handle } from "hono/aws-lambda";
import { honoMiddleware } from "sallyport/adapters/hono";
import { sallyport } from "./sallyport.ts";

const app = new Hono();
app.use(honoMiddleware(sallyport, { start: false }));

/** Serves the token endpoint, behind an HTTP API or the URL of the function. */
export const handler = handle(app);
