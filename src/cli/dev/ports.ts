import { InvalidArgumentError } from "commander";
import { ConfigurationError } from "../../errors.ts";
import { MAX_PORT, portOf, portOfEnvironment, SERVER_PORT } from "../ports.ts";
import { canConnect, freePort } from "./listening.ts";

/** The port of the first local gateway where GATEWAY_PORT is not set. */
const GATEWAY_PORT = 3001;

/** The ports of a run. */
export interface Ports {
  readonly server: number;
  /** Port of the first local gateway, or 0 for free ports. */
  readonly gateway: number;
  /** Port of the process of a function, or 0 without a function. */
  readonly invoke: number;
}

/** The options that decide about the ports. */
export interface PortOptions {
  readonly port?: number;
  readonly gatewayPort?: number;
  readonly lambda?: string;
}

/**
 * Returns the ports of the options, or else those of the environment variables.
 *
 * @param gateways number of local gateways
 * @throws ConfigurationError for ports that are invalid, overlap or are in use
 */
export async function portsOf(options: PortOptions, gateways: number): Promise<Ports> {
  const invoke = options.lambda === undefined ? 0 : await freePort();
  const server = options.port ?? portOfEnvironment("PORT", SERVER_PORT);
  const gateway = options.gatewayPort ?? portOfEnvironment("GATEWAY_PORT", GATEWAY_PORT);
  const last = gateway + gateways - 1;
  if (gateway > 0 && last > MAX_PORT) {
    throw new ConfigurationError(
      `The ${gateways} views need the ports from ${gateway} to ${last}. Use a --gateway-port of at most ${MAX_PORT - gateways + 1}.`,
    );
  }
  if (gateway > 0 && server >= gateway && server <= last) {
    throw new ConfigurationError(
      `Port ${server} is the port of your server and of a local gateway. Set another PORT or GATEWAY_PORT in .env.`,
    );
  }
  if (await canConnect(server)) {
    throw new ConfigurationError(
      `Port ${server} is in use, but your server needs it. Stop the other program, or set another PORT in .env.`,
    );
  }
  return { server, gateway, invoke };
}

/** Parses `--port`. */
export function serverPort(text: string): number {
  const port = portOf(text);
  if (port !== undefined && port > 0) return port;
  throw new InvalidArgumentError(`Use a whole number from 1 to ${MAX_PORT}.`);
}

/** Parses `--gateway-port`. */
export function gatewayPort(text: string): number {
  const port = portOf(text);
  if (port !== undefined) return port;
  throw new InvalidArgumentError(`Use a whole number from 0 to ${MAX_PORT}, where 0 selects any free port.`);
}
