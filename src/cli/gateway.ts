import { type Command, InvalidArgumentError } from "commander";
import type { Terminal } from "./terminal.ts";

/** `gateway local`: an API Gateway on this machine, before any backend. */
export function addGateway(program: Command, terminal: Terminal): void {
  const gateway = program.command("gateway").description("Gateways that own the sockets");

  gateway
    .command("local")
    .description("Run an API Gateway for WebSockets on this machine, in front of any backend")
    .requiredOption(
      "--target <url>",
      "base of the backend's URLs: <url>connect, <url>disconnect, <url>default",
    )
    .option("--port <number>", "where to listen on 127.0.0.1", port, 3001)
    .option("--stage <name>", "the stage in the socket's URL", "dev")
    .option("--secret <text>", "sent to the backend as x-sallyport-secret")
    .action(async (options: { target: string; port: number; stage: string; secret?: string }) => {
      const { startLocalGateway } = await import("../local/emulator.ts");
      const running = await startLocalGateway({
        ...options,
        onError: (error, where) =>
          terminal.complain(`${where}: ${error instanceof Error ? error.message : error}`),
      });
      terminal.print(`sockets         ${running.url}`);
      terminal.print(`Management API  ${running.endpoint}/@connections`);
      terminal.print(`backend         ${options.target}`);
      terminal.print("Ctrl-C ends.");
      await new Promise<void>((resolve) => {
        process.once("SIGINT", resolve);
        process.once("SIGTERM", resolve);
      });
      await running.close();
    });
}

function port(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new InvalidArgumentError("Give a whole number from 0 to 65535; 0 takes any free port.");
}
