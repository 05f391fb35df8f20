import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { nodeListener } from "sallyport/adapters/node";
import { z } from "zod";
import { sallyport } from "./sallyport.ts";
import { endOfSession, sessionOf, startSession } from "./session.ts";

/** The files of the page. The client of Sallyport is one file, so the page needs no bundler. */
const FILES: Readonly<Record<string, readonly [file: URL | string, type: string]>> = {
  "/": [new URL("../public/index.html", import.meta.url), "text/html"],
  "/page.js": [new URL("../public/page.js", import.meta.url), "text/javascript"],
  "/style.css": [new URL("../public/style.css", import.meta.url), "text/css"],
  "/sallyport-client.js": [import.meta.resolve("sallyport/client"), "text/javascript"],
};
const SignIn = z.object({ name: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/) });
/** Whether `npm run dev` runs this process. */
const isDevelopment = process.env.SALLYPORT_DEV === "1";

async function next(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [path = "/"] = (request.url ?? "/").split("?");
  const [file, type] = FILES[path] ?? [];
  if (file && type && (request.method === "GET" || request.method === "HEAD")) {
    const text = await readFile(fileURLToPath(file), "utf8");
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(text);
  } else if (path === "/api/session") {
    await session(request, response);
  } else {
    response.writeHead(404).end();
  }
}

/** GET describes the session, POST signs in, DELETE signs out. */
async function session(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const current = sessionOf(request.headers.cookie);
  if (request.method === "POST") {
    // Replace this with your own sign-in. It accepts each name without a password.
    const { success, data } = SignIn.safeParse(await json(request));
    if (!isDevelopment || !success) return void response.writeHead(isDevelopment ? 400 : 403).end();
    response.writeHead(204, { "set-cookie": startSession(data.name) }).end();
  } else if (request.method === "DELETE") {
    // Connections of the session are closed at once.
    if (current) await sallyport.access.endSession(current.sessionId);
    response.writeHead(204, { "set-cookie": endOfSession() }).end();
  } else {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ user: current?.userId ?? null, url: process.env.SALLYPORT_URL ?? null }));
  }
}

async function json(request: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) {
    text += chunk;
    if (text.length > 1000) return undefined;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const server = createServer(
  nodeListener(sallyport, {
    next: (request, response) => {
      next(request, response).catch((error) => {
        console.error(error);
        response.writeHead(500).end();
      });
    },
  }),
);
const port = Number(process.env.PORT || 3000);
server.listen(port, isDevelopment ? "localhost" : undefined, () => {
  if (!isDevelopment) console.log(`The server listens on port ${port}.`);
});
process.once("SIGTERM", () => server.close(() => void sallyport.close()));
