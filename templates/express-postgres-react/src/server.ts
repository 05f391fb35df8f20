import { createServer, type Server } from "node:http";
import { fileURLToPath } from "node:url";
import express from "express";
import { expressMiddleware } from "sallyport/adapters/express";
import { z } from "zod";
import { sallyport } from "./sallyport.ts";
import { sessions } from "./session.ts";

const SignIn = z.object({ name: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/) });
/** Whether `npm run dev` runs this process. */
const isDevelopment = process.env.SALLYPORT_DEV === "1";

const app = express();
// A load balancer in front of the server ends TLS.
if (!isDevelopment) app.set("trust proxy", 1);
app.use(sessions());
app.use(expressMiddleware(sallyport)); // before body parsers
app.use(express.json());

app.get("/api/session", (request, response) => {
  response.json({ user: request.session.userId ?? null, url: process.env.SALLYPORT_URL ?? null });
});

app.post("/api/session", (request, response, next) => {
  // Replace this with your own sign-in. It accepts each name without a password.
  const { success, data } = SignIn.safeParse(request.body);
  if (!isDevelopment || !success) return void response.sendStatus(isDevelopment ? 400 : 403);
  // A new session id. Another person may know the previous one.
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.userId = data.name;
    response.sendStatus(204);
  });
});

app.delete("/api/session", async (request, response, next) => {
  // Connections of the session are closed at once.
  if (request.session.userId) await sallyport.access.endSession(request.sessionID);
  request.session.destroy((error) => (error ? next(error) : response.sendStatus(204)));
});

const server = createServer(app);
const closePage = await servePage(server);
const port = Number(process.env.PORT || 3000);
server.listen(port, isDevelopment ? "localhost" : undefined, () => {
  if (!isDevelopment) console.log(`The server listens on port ${port}.`);
});
process.once("SIGTERM", async () => {
  await closePage();
  server.close(() => void sallyport.close());
});

/** Serves the page: with Vite in development, otherwise the files that `npm run build` wrote. */
async function servePage(server: Server): Promise<() => Promise<void>> {
  if (!isDevelopment) {
    app.use(express.static(fileURLToPath(new URL("page", import.meta.url))));
    return async () => undefined;
  }
  const vite = await import("vite");
  const page = await vite.createServer({ server: { middlewareMode: true, hmr: { server } } });
  app.use(page.middlewares);
  return () => page.close();
}
