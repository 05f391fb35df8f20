import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Ports below those that the kernel gives to outgoing connections, so that no connection takes one before its server listens. */
const [FIRST, LAST] = [20_000, 32_000];
const ATTEMPTS = 100;

/**
 * Finds a port on which nothing listens, for a server that cannot choose one itself.
 *
 * Ports are drawn at random, so that two test runs side by side do not choose the same.
 *
 * @returns the port
 * @throws Error if a hundred ports are in use
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(FIRST, LAST);
    if (await isFree(port)) return port;
  }
  throw new Error(`${ATTEMPTS} ports between ${FIRST} and ${LAST} are in use.`);
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
