import { type Command, InvalidArgumentError } from "commander";
import { addGatewayDocuments } from "./gateway-documents.ts";
import { addProvisioning } from "./gateway-provisioning.ts";
import { type Format, print, withJson } from "./report.ts";
import { oneLine, type Terminal } from "./terminal.ts";

/** `gateway`: those at AWS, and `gateway local`, one on this machine before any backend. */
export function addGateway(program: Command, terminal: Terminal): void {
  const gateway = program.command("gateway").description("Gateways that own the sockets");

  addProvisioning(gateway, terminal);
  addGatewayDocuments(gateway, terminal);
  const local = gateway
    .command("local")
    .description("Run an API Gateway for WebSockets on this machine, in front of any backend")
    .requiredOption(
      "--target <url>",
      "base of the backend's URLs: <url>connect, <url>disconnect, <url>default; once for each instance",
      (url: string, before: readonly string[] = []) => [...before, url],
    )
    .option("--port <number>", "where to listen on 127.0.0.1", port, 3001)
    .option("--stage <name>", "the stage in the socket's URL", "dev")
    .option("--secret <text>", "sent to the backend as x-sallyport-secret")
    .option(
      "--allowed-host <name>",
      "another name of this machine that clients use, such as a container's; once for each",
      (name: string, before: readonly string[] = []) => [...before, name],
    );
  withJson(local).action((options: LocalOptions) => runLocally(terminal, options));
}

interface LocalOptions extends Format {
  readonly target: readonly string[];
  readonly port: number;
  readonly stage: string;
  readonly secret?: string;
  readonly allowedHost?: readonly string[];
}

/** Says where it listens, and runs until a signal ends it. */
async function runLocally(terminal: Terminal, options: LocalOptions): Promise<void> {
  const { startLocalGateway } = await import("../local/emulator.ts");
  const { json: _, allowedHost, ...settings } = options;
  const running = await startLocalGateway({
    ...settings,
    ...(allowedHost ? { allowedHosts: allowedHost } : {}),
    onError: (error, where) => terminal.complain(`${where}: ${oneLine(error)}`),
  });
  const lines = [
    `sockets         ${running.url}`,
    `Management API  ${running.endpoint}/@connections`,
    `backend         ${options.target.join(" ")}`,
    "Ctrl-C ends.",
  ];
  print(terminal, options, {
    json: { url: running.url, endpoint: running.endpoint, targets: options.target },
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
  throw new InvalidArgumentError("Give a whole number from 0 to 65535; 0 takes any free port.");
}
