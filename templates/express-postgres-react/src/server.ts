import { fileURLToPath } from "node:url";
import express from "express";
import { expressMiddleware } from "sallyport/adapters/express";
import { z } from "zod";
import { sallyport } from "./sallyport.ts";
import { sessions } from "./session.ts";

const SignIn = z.object({ name: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/) });
const isProduction = process.env.NODE_ENV === "production";

const app = express();
// Behind a load balancer, which ends TLS.
if (isProduction) app.set("trust proxy", 1);
app.use(sessions());
app.use(expressMiddleware(sallyport)); // before body parsers
app.use(express.json());

app.get("/api/session", (request, response) => {
  response.json({ user: request.session.userId ?? null, url: process.env.SALLYPORT_URL ?? null });
});

app.post("/api/session", (request, response, next) => {
  // Replace this with your own sign-in. It accepts each name without a password.
  const { success, data } = SignIn.safeParse(request.body);
  if (isProduction || !success) return void response.sendStatus(400);
  // A new session id, so that an id that was known before the sign-in is worth nothing.
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.userId = data.name;
    response.sendStatus(204);
  });
});

app.delete("/api/session", async (request, response, next) => {
  // Connections of the session are closed at once.
  await sallyport.access.endSession(request.sessionID);
  request.session.destroy((error) => (error ? next(error) : response.sendStatus(204)));
});

if (isProduction) {
  app.use(express.static(fileURLToPath(new URL("page", import.meta.url))));
} else {
  const { createServer } = await import("vite");
  const vite = await createServer({ server: { middlewareMode: true, hmr: { port: 24_678 } } });
  app.use(vite.middlewares);
}

const server = app.listen(Number(process.env.PORT ?? 3000));
process.once("SIGTERM", () => server.close(() => void sallyport.close()));
