import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import Fastify from "fastify";
import { fastifyPlugin } from "sallyport/adapters/fastify";
import { z } from "zod";
import { sallyport } from "./sallyport.ts";
import { endOfSession, sessionOf, startSession } from "./session.ts";

const SignIn = z.object({ name: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/) });
/** Whether `npm run dev` runs this process. */
const isDevelopment = process.env.SALLYPORT_DEV === "1";

const app = Fastify({ logger: !isDevelopment });
await app.register(fastifyPlugin(sallyport));
await app.register(fastifyStatic, { root: fileURLToPath(new URL("../public/", import.meta.url)) });

// The client of Sallyport is one file, so the page needs no bundler.
const client = fileURLToPath(import.meta.resolve("sallyport/client"));
app.get("/sallyport-client.js", (_request, reply) =>
  reply.sendFile("socket.js", client.slice(0, -"socket.js".length)),
);

app.get("/api/session", (request) => {
  const session = sessionOf(request.headers.cookie);
  return { user: session?.userId ?? null, url: process.env.SALLYPORT_URL ?? null };
});

app.post("/api/session", (request, reply) => {
  // Replace this with your own sign-in. It accepts each name without a password.
  const { success, data } = SignIn.safeParse(request.body);
  if (!isDevelopment || !success) return reply.code(isDevelopment ? 400 : 403).send();
  return reply.code(204).header("set-cookie", startSession(data.name)).send();
});

app.delete("/api/session", async (request, reply) => {
  const session = sessionOf(request.headers.cookie);
  // Connections of the session are closed at once.
  if (session) await sallyport.access.endSession(session.sessionId);
  return reply.code(204).header("set-cookie", endOfSession()).send();
});

await app.listen({ port: Number(process.env.PORT || 3000), host: isDevelopment ? "localhost" : "0.0.0.0" });
process.once("SIGTERM", () => void app.close().then(() => sallyport.close()));
