import { type Command, InvalidArgumentError } from "commander";
import { type Format, print, withJson } from "./report.ts";
import { oneLine, type Terminal } from "./terminal.ts";

/** Adds `local`, which runs a local API Gateway. */
export function addLocal(program: Command, terminal: Terminal): void {
  const local = program
    .command("local")
    .description("Run a local API Gateway for WebSocket APIs, in front of any backend")
    .requiredOption(
      "--target <url>",
      "base of the backend's URLs <url>connect, <url>disconnect and <url>default (repeat for each instance)",
      (url: string, previous: readonly string[] = []) => [...previous, url],
    )
    .option("--port <number>", "the port on 127.0.0.1", port, 3001)
    .option("--stage <name>", "the stage in the WebSocket URL", "dev")
    .option("--secret <text>", "the secret that the backend receives as x-sallyport-secret")
    .option(
      "--allowed-host <name>",
      "another host name that clients use, such as that of a container (can be repeated)",
      (name: string, previous: readonly string[] = []) => [...previous, name],
    )
    .option("--no-inspector", "do not serve the page that shows connections and events");
  withJson(local).action((options: LocalOptions) => runLocally(terminal, options));
}

interface LocalOptions extends Format {
  readonly target: readonly string[];
  readonly port: number;
  readonly stage: string;
  readonly secret?: string;
  readonly allowedHost?: readonly string[];
  /** False with `--no-inspector`. */
  readonly inspector: boolean;
}

/** Prints the addresses, and runs until SIGINT or SIGTERM. */
async function runLocally(terminal: Terminal, options: LocalOptions): Promise<void> {
  const { startLocalGateway } = await import("../local/emulator.ts");
  const { json: _, allowedHost, ...settings } = options;
  const running = await startLocalGateway({
    ...settings,
    ...(allowedHost ? { allowedHosts: allowedHost } : {}),
    onError: (error, where) => terminal.complain(`${where}: ${oneLine(error)}`),
  });
  const { url, endpoint, inspectorUrl } = running;
  const lines = [
    `URL             ${url}`,
    `Management API  ${endpoint}/@connections`,
    ...(inspectorUrl === undefined ? [] : [`inspector       ${inspectorUrl}`]),
    `backend         ${options.target.join(" ")}`,
    "Press Ctrl-C to stop.",
  ];
  print(terminal, options, {
    json: { url, endpoint, targets: options.target, ...(inspectorUrl ? { inspector: inspectorUrl } : {}) },
    lines,
  });
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
  await running.close();
}

function port(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new InvalidArgumentError("Use a whole number from 0 to 65535, where 0 selects any free port.");
}
