/**
 * Returns a port from an environment variable, or the fallback if the variable is not set.
 *
 * @throws Error if the value is not a port number
 */
export function portFrom(name: "PORT" | "GATEWAY_PORT", fallback: number): number {
  const text = process.env[name];
  if (text === undefined || text === "") return fallback;
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new Error(
    `${name}=${text} is not a port number. Set it to a whole number from 1 to 65535, such as ${name}=${fallback}.`,
  );
}

/** Returns the origins of this app: `localhost` and `127.0.0.1`. */
export function ownOrigins(): string[] {
  const port = portFrom("PORT", 3000);
  return ["localhost", "127.0.0.1"].map((host) => new URL(`http://${host}:${port}`).origin);
}

/** Returns the values of the Host header that this app accepts. */
export function ownHosts(): string[] {
  return ownOrigins().map((origin) => new URL(origin).host);
}
