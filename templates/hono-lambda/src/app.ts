import { readFile } from "node:fs/promises";
import { Hono } from "hono";
import { honoMiddleware } from "sallyport/adapters/hono";
import { z } from "zod";
import { sallyport } from "./sallyport.ts";
import { endOfSession, sessionOf, startSession } from "./session.ts";

const SignIn = z.object({ name: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/) });
/** Whether `npm run dev` runs this process. */
const isDevelopment = process.env.SALLYPORT_DEV === "1";

/** The files of the page. `npm run build` copies them beside the bundle. */
const PUBLIC = new URL(isDevelopment ? "../public/" : "./public/", import.meta.url);
const FILES = [
  ["/", new URL("index.html", PUBLIC), "text/html"],
  ["/page.js", new URL("page.js", PUBLIC), "text/javascript"],
  ["/style.css", new URL("style.css", PUBLIC), "text/css"],
  // The client of Sallyport is one file, so the page needs no bundler.
  [
    "/sallyport-client.js",
    isDevelopment ? new URL(import.meta.resolve("sallyport/client")) : new URL("sallyport-client.js", PUBLIC),
    "text/javascript",
  ],
] as const;

/** The pages, and the token endpoint of Sallyport. */
export const app = new Hono();
app.use(honoMiddleware(sallyport, { start: false }));

for (const [path, file, type] of FILES) {
  app.get(path, async (context) => {
    return context.body(await readFile(file, "utf8"), 200, { "content-type": `${type}; charset=utf-8` });
  });
}

app.get("/api/session", (context) => {
  const session = sessionOf(context.req.header("cookie"));
  return context.json({ user: session?.userId ?? null, url: process.env.SALLYPORT_URL ?? null });
});

app.post("/api/session", async (context) => {
  // Replace this with your own sign-in. It accepts each name without a password.
  const { success, data } = SignIn.safeParse(await context.req.json().catch(() => undefined));
  if (!isDevelopment || !success) return context.body(null, isDevelopment ? 400 : 403);
  return context.body(null, 204, { "set-cookie": startSession(data.name) });
});

app.delete("/api/session", async (context) => {
  const session = sessionOf(context.req.header("cookie"));
  // Connections of the session are closed at once.
  if (session) await sallyport.access.endSession(session.sessionId);
  return context.body(null, 204, { "set-cookie": endOfSession() });
});
