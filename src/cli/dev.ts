import { type Command, InvalidArgumentError } from "commander";
import { gatewaySecret } from "../aws.ts";
import { ConfigurationError } from "../errors.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import { DevLog } from "./dev/dev-log.ts";
import { type DevDatabase, startEmbeddedPostgres } from "./dev/embedded-postgres.ts";
import {
  closeGateways,
  registerGateways,
  type ServedView,
  startGateways,
  webSocketUrls,
} from "./dev/gateways.ts";
import { onKeys } from "./dev/keys.ts";
import { LambdaServer, remoteFunction } from "./dev/lambda-function.ts";
import { acceptsConnections, canConnect, freePort, ServerProcess } from "./dev/server-process.ts";
import { loadEnvironment } from "./environment.ts";
import { MAX_PORT, portOf, portOfEnvironment, SERVER_PORT } from "./ports.ts";
import { type Format, withJson } from "./report.ts";
import { StopSignal } from "./stop-signal.ts";
import { aligned } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** Interval at which new denials are read from the database, in milliseconds. */
const DENIALS_EVERY_MS = 250;
/** Time after which `dev` says that the server does not listen, in milliseconds. */
const REMINDER_MS = 15_000;

/** Adds `dev`, which runs the server of an app behind a local API Gateway. */
export function addDev(program: Command, terminal: Terminal): void {
  const dev = program
    .command("dev")
    .description("Run your server behind a local API Gateway, and print each event and denial")
    .usage("[options] -- <command of your server>")
    .argument("[command...]", "the command of your server, after --")
    .option("--lambda <file>", "the file of a Lambda function, which is run instead of a command")
    .option("--embedded-postgres", "start a PostgreSQL server at DATABASE_URL")
    .option(
      "--port <number>",
      "the port of your server, which it receives as PORT (default: PORT, or 3000)",
      serverPort,
    )
    .option(
      "--gateway-port <number>",
      "the port of the local gateway on 127.0.0.1 (default: GATEWAY_PORT, or 3001)",
      gatewayPort,
    );
  withJson(dev).action((command: readonly string[], options: DevOptions) =>
    startDev(terminal, command, options),
  );
}

interface DevOptions extends Format {
  readonly lambda?: string;
  readonly embeddedPostgres?: boolean;
  readonly port?: number;
  readonly gatewayPort?: number;
}

/** The ports of a run. */
interface Ports {
  readonly server: number;
  /** Port of the first local gateway, or 0 for free ports. */
  readonly gateway: number;
  /** Port of the process of a function, or 0 without a function. */
  readonly invoke: number;
}

/** Starts the database if it is asked for, and runs the app. */
async function startDev(terminal: Terminal, command: readonly string[], options: DevOptions): Promise<void> {
  if (command.length > 0 === (options.lambda !== undefined)) {
    throw new ConfigurationError(
      "dev needs either the command of a server or a function. Use: sallyport dev -- <command>, or: sallyport dev --lambda <file>",
    );
  }
  // The app reads DATABASE_URL when it is loaded.
  loadEnvironment();
  const database = options.embeddedPostgres ? await startEmbeddedPostgres() : undefined;
  try {
    await withApp(terminal.app(), (sallyport) =>
      runDev({ sallyport, terminal, command, options, database, invokeKey: gatewaySecret() }),
    );
  } finally {
    await database?.stop();
  }
}

/** What a run needs. */
interface Run {
  readonly sallyport: Sallyport;
  readonly terminal: Terminal;
  /** The command of the server. Empty with `--lambda`. */
  readonly command: readonly string[];
  readonly options: DevOptions;
  /** Key of the invocations of a function. */
  readonly invokeKey: string;
  /** The embedded database, or undefined without one. */
  readonly database: DevDatabase | undefined;
}

/** Runs until SIGINT, SIGTERM, the key `q`, or the end of the server. */
async function runDev(run: Run): Promise<void> {
  const { sallyport, terminal, options } = run;
  const ports = await portsOf(sallyport, options);
  const log = new DevLog(sallyport, terminal, options);
  const paths = sallyport.viewPaths.slice(0, options.lambda === undefined ? undefined : 1);
  const backend =
    options.lambda === undefined
      ? { port: ports.server }
      : { invoke: remoteFunction(ports.invoke, run.invokeKey) };
  const views = await startGateways(paths, ports.gateway, backend, log);
  let exitCode = 0;
  const stop = new StopSignal();
  const server = serverOf(run, ports, views, log, (how) => {
    terminal.complain(`The server ended (${how}).`);
    exitCode = 1;
    stop.stop();
  });
  const kill = () => server.kill();
  process.once("exit", kill);
  const waiting = new AbortController();
  const release = onKeys({
    w: () => void log.explainLast(),
    r: () => void restart(server, log),
    q: () => stop.stop(),
  });
  try {
    await sallyport.migrate();
    await registerGateways(sallyport, views);
    await log.start();
    if (stop.isStopped) return;
    printWelcome(log, run, ports, views, server);
    await server.start();
    const port = ports.invoke || ports.server;
    const advice =
      options.lambda === undefined
        ? "Let your server listen on the port in the environment variable PORT."
        : "Correct the error of the function.";
    const remind = setTimeout(() => {
      terminal.complain(`Nothing accepts connections on port ${port} yet. ${advice}`);
    }, REMINDER_MS);
    waiting.signal.addEventListener("abort", () => clearTimeout(remind));
    void acceptsConnections(port, waiting.signal).then((isUp) => {
      clearTimeout(remind);
      if (isUp) log.print({ type: "ready" }, [`The server accepts connections on port ${ports.server}.`]);
    });
    while (!(await stop.within(DENIALS_EVERY_MS))) await log.printDenials();
    if (exitCode === 0)
      terminal.complain("The server is being stopped. Press Ctrl-C again to end it at once.");
  } finally {
    waiting.abort();
    release();
    // The server still receives the disconnects.
    await closeGateways(views);
    await server.stop();
    await log.printDenials();
    process.off("exit", kill);
    stop.release();
  }
  terminal.end(exitCode);
}

/** The server of the app: a command, or a Lambda function. */
type Server = Pick<ServerProcess, "commandLine" | "start" | "restart" | "stop" | "kill">;

/** @param onExit called if the server ends by itself */
function serverOf(
  { command, options, invokeKey }: Run,
  ports: Ports,
  views: readonly ServedView[],
  log: DevLog,
  onExit: (how: string) => void,
): Server {
  const common = { env: environmentOf(ports, webSocketUrls(views)), isQuiet: options.json === true, onExit };
  if (options.lambda === undefined) return new ServerProcess({ ...common, command });
  return new LambdaServer({
    ...common,
    file: options.lambda,
    port: ports.server,
    invokePort: ports.invoke,
    invokeKey,
    onError: (error) => log.printError(error, "function"),
  });
}

/** @throws ConfigurationError for ports that are invalid, overlap or are in use */
async function portsOf(sallyport: Sallyport, options: DevOptions): Promise<Ports> {
  const invoke = options.lambda === undefined ? 0 : await freePort();
  const server = options.port ?? portOfEnvironment("PORT", SERVER_PORT);
  const gateway = options.gatewayPort ?? portOfEnvironment("GATEWAY_PORT", 3001);
  const ports = { server, gateway, invoke };
  if (sallyport.viewPaths.length === 0) {
    throw new ConfigurationError(
      "The app has no views, so no client could connect. Add one to the option views.",
    );
  }
  // A function has one gateway.
  const gateways = options.lambda === undefined ? sallyport.viewPaths.length : 1;
  const last = ports.gateway + gateways - 1;
  if (ports.gateway > 0 && last > MAX_PORT) {
    throw new ConfigurationError(
      `The ${gateways} views need the ports from ${ports.gateway} to ${last}. Use a --gateway-port of at most ${MAX_PORT - gateways + 1}.`,
    );
  }
  if (ports.gateway > 0 && ports.server >= ports.gateway && ports.server <= last) {
    throw new ConfigurationError(
      `Port ${ports.server} is the port of your server and of a local gateway. Use another --port or --gateway-port.`,
    );
  }
  if (await canConnect(ports.server)) {
    throw new ConfigurationError(
      `Port ${ports.server} is in use, but your server needs it. Stop the other program, or use another --port.`,
    );
  }
  return ports;
}

/** Returns the variables by which the server finds its port and the gateways. */
function environmentOf(
  { server }: Ports,
  urls: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return {
    PORT: String(server),
    SALLYPORT_DEV: "1",
    SALLYPORT_URL: Object.values(urls)[0] ?? "",
    SALLYPORT_URLS: JSON.stringify(urls),
  };
}

function printWelcome(
  log: DevLog,
  { database }: Run,
  ports: Ports,
  views: readonly ServedView[],
  { commandLine }: Server,
): void {
  const origin = `http://localhost:${ports.server}`;
  const urls = webSocketUrls(views);
  log.print({ type: "started", server: origin, urls, ...(database ? { database: database.url } : {}) }, [
    ...aligned([
      ["server", origin, commandLine],
      ...Object.entries(urls).map(([path, url]) => ["WebSocket", url, path]),
      ...(database ? [["database", database.url, database.note]] : []),
    ]),
    process.stdin.isTTY
      ? "Keys: w explains the last denial, r restarts the server, q quits."
      : "Press Ctrl-C to stop.",
    "",
  ]);
}

async function restart(server: Server, log: DevLog): Promise<void> {
  log.print({ type: "restart" }, ["The server restarts."]);
  await server.restart().catch((error) => log.printError(error, "restart"));
}

function serverPort(text: string): number {
  const port = portOf(text);
  if (port !== undefined && port > 0) return port;
  throw new InvalidArgumentError(`Use a whole number from 1 to ${MAX_PORT}.`);
}

function gatewayPort(text: string): number {
  const port = portOf(text);
  if (port !== undefined) return port;
  throw new InvalidArgumentError(`Use a whole number from 0 to ${MAX_PORT}, where 0 selects any free port.`);
}
