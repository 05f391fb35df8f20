/** Ports as the environment says. @throws Error with one sentence for a value that is none */
export function portFrom(name: "PORT" | "GATEWAY_PORT", fallback: number): number {
  const text = process.env[name];
  if (text === undefined || text === "") return fallback;
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new Error(
    `${name}=${text} is no port. Give a whole number from 1 to 65535, such as ${name}=${fallback}.`,
  );
}

/** The pages of this app, under both names of this machine. */
export function ownOrigins(): string[] {
  const port = portFrom("PORT", 3000);
  return ["localhost", "127.0.0.1"].map((host) => new URL(`http://${host}:${port}`).origin);
}
