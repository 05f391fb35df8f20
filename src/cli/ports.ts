import { ConfigurationError } from "../errors.ts";
import { quoted } from "./terminal.ts";

export const MAX_PORT = 65_535;
/** The port of the server of an app where PORT is not set. */
export const SERVER_PORT = 3000;

/**
 * Returns the port in an environment variable, or another one if the variable is not set.
 *
 * @throws ConfigurationError if the variable contains no port
 */
export function portOfEnvironment(name: "PORT" | "GATEWAY_PORT", otherwise: number): number {
  const text = process.env[name];
  if (!text) return otherwise;
  const port = portOf(text);
  if (port !== undefined && port > 0) return port;
  throw new ConfigurationError(`${name} is ${quoted(text)}. Use a whole number from 1 to ${MAX_PORT}.`);
}

/** Returns the port that a text names, or undefined. */
export function portOf(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) && Number(text) <= MAX_PORT ? Number(text) : undefined;
}
