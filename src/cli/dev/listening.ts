import { once } from "node:events";
import { type AddressInfo, createConnection, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { TOKEN_METHODS } from "../../protocol/http.ts";

/** Interval between two checks of a port, in milliseconds. */
const POLL_MS = 50;

/** Resolves with true when a server accepts connections, or with false after `stop` was aborted. */
export async function acceptsConnections(port: number, stop: AbortSignal): Promise<boolean> {
  while (!stop.aborted) {
    if (await canConnect(port)) return true;
    await sleep(POLL_MS);
  }
  return false;
}

/** Returns a port on 127.0.0.1 that no program uses. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** Returns whether a program accepts connections on a port of this machine. */
export function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "localhost" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/**
 * Returns why clients get no token from a server, or undefined if its token endpoint is that of
 * Sallyport, or cannot be requested. Sallyport returns 405 for a GET request.
 */
export async function tokenRouteProblem(
  port: number,
  path: string,
  stop: AbortSignal,
): Promise<string | undefined> {
  const url = `http://localhost:${port}${path}`;
  const response = await fetch(url, { redirect: "manual", signal: stop }).catch(() => undefined);
  await response?.body?.cancel().catch(() => undefined);
  if (!response || response.headers.get("allow") === TOKEN_METHODS) return undefined;
  return (
    `The server does not pass ${path} to Sallyport: GET ${url} returned ${response.status}. ` +
    "Mount the middleware of Sallyport before the other routes."
  );
}
