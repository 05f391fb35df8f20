import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Range of the ports. It is below the ephemeral ports of the kernel, so an outgoing connection
 * cannot use the port before the server listens.
 */
const [FIRST, LAST] = [20_000, 32_000];
const ATTEMPTS = 100;

/**
 * Returns a free port on 127.0.0.1, for a server that cannot listen on port 0.
 *
 * Ports are random, so that concurrent test runs rarely choose the same one.
 *
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
