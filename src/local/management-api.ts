import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import { type Context, Hono } from "hono";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { Connection, Connections } from "./connections.ts";
import { ID_SHAPE, newId } from "./ids.ts";

/**
 * `/{stage}/@connections/{id}`: POST sends, GET describes, DELETE closes.
 *
 * The stage is part of the path, a double slash or any other path is 403, and signatures are not checked. What
 * AWS says in headers and bodies is repeated exactly, because the SDK reads error names from `x-amzn-errortype`.
 *
 * Source: AWS developer guide, "Use @connections commands"; the SDK's service model.
 */
export function managementApi(stage: string, connections: Connections): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    c.header("x-amzn-requestid", randomUUID());
    c.header("x-amz-apigw-id", newId());
    await next();
  });
  app.get(`/${stage}`, (c) => c.json({ message: "Upgrade Required" }, 426));

  for (const path of [`/${stage}/@connections/:id`, `/${stage}/%40connections/:id`] as const) {
    app.use(path, async (c, next) => {
      const id = c.req.param("id") ?? "";
      return ID_SHAPE.test(id) ? next() : badRequest(c, `Invalid connectionId: ${id}`);
    });
    app.post(path, async (c) => {
      const data = Buffer.from(await c.req.arrayBuffer());
      if (data.length > MAX_MESSAGE_BYTES) return payloadTooLarge(c);
      if (!isUtf8(data)) return badRequest(c, "The data is not valid UTF-8");
      const result = connections.find(c.req.param("id"))?.send(data) ?? "gone";
      if (result === "busy") return nothing(c, 429, "LimitExceededException");
      return result === "sent" ? nothing(c, 200) : nothing(c, 410, "GoneException");
    });
    app.get(path, (c) => {
      const connection = openConnection(connections, c.req.param("id"));
      if (!connection) return nothing(c, 410, "GoneException");
      return c.body(description(connection), 200, { "content-type": "application/json" });
    });
    app.delete(path, (c) => {
      const connection = openConnection(connections, c.req.param("id"));
      if (!connection) return nothing(c, 410, "GoneException");
      connection.end({ code: 1000, reason: "Connection Closed Normally" });
      return c.body(null, 204);
    });
  }
  // A caller that hangs up in the middle of its request is no error of ours, and Hono would print it.
  app.onError((_error, c) => c.json({ message: "Internal server error" }, 500));
  app.notFound((c) => {
    c.header("x-amzn-errortype", "ForbiddenException");
    return c.json({ message: "Forbidden" }, 403);
  });
  return app;
}

/** A connection that is closing is gone, like one that never was. */
function openConnection(connections: Connections, id: string): Connection | undefined {
  const connection = connections.find(id);
  return connection?.isOpen ? connection : undefined;
}

function nothing(c: Context, status: 200 | 410 | 429, errorType?: string): Response {
  if (errorType) c.header("x-amzn-errortype", errorType);
  return c.body("", status, { "content-type": "application/json", "content-length": "0" });
}

function badRequest(c: Context, message: string): Response {
  c.header("x-amzn-errortype", "BadRequestException");
  return c.json({ message }, 400);
}

function payloadTooLarge(c: Context): Response {
  c.header("x-amzn-errortype", "PayloadTooLargeException");
  return c.json({ message: `Message too long: at most ${MAX_MESSAGE_BYTES} bytes` }, 413);
}

/** AWS's own layout, with a space on both sides of each colon. */
function description(connection: Connection): string {
  return `{
  "identity" : {
    "sourceIp" : ${JSON.stringify(connection.sourceIp)},
    "userAgent" : ${JSON.stringify(connection.userAgent ?? null)}
  },
  "connectedAt" : "${new Date(connection.connectedAt).toISOString()}",
  "lastActiveAt" : "${new Date(connection.lastActiveAt).toISOString()}"
}`;
}
