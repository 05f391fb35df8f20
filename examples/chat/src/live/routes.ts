import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { feed } from "./observer.ts";

/** Sends the entries of the live panel as server-sent events. */
export const liveRoutes = new Hono().get("/", (context) => {
  const reader = feed.read(Number(context.req.header("last-event-id") ?? 0) || 0);
  return streamSSE(context, async (stream) => {
    stream.onAbort(() => reader.close());
    for (;;) {
      const entries = await reader.next();
      if (entries.length === 0) break;
      const last = entries.at(-1)?.id;
      await stream.writeSSE({ id: String(last), data: JSON.stringify(entries) });
    }
    // Without this event, the page would connect again and take the place of another one.
    if (reader.isSuperseded) await stream.writeSSE({ event: "superseded", data: "" });
  });
});
