import { type Command, InvalidArgumentError } from "commander";
import { gatewaySecret } from "../aws.ts";
import { ConfigurationError } from "../errors.ts";
import type { LocalGateway } from "../local/emulator.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import { DevLog } from "./dev/dev-log.ts";
import { onKeys } from "./dev/keys.ts";
import { acceptsConnections, canConnect, ServerProcess } from "./dev/server-process.ts";
import { type Format, withJson } from "./report.ts";
import { StopSignal } from "./stop-signal.ts";
import { aligned } from "./table.ts";
import { quoted, type Terminal } from "./terminal.ts";

/** Interval at which new denials are read from the database, in milliseconds. */
const DENIALS_EVERY_MS = 250;
const MAX_PORT = 65_535;

/** Adds `dev`, which runs the server of an app behind a local API Gateway. */
export function addDev(program: Command, terminal: Terminal): void {
  const dev = program
    .command("dev")
    .description("Run your server behind a local API Gateway, and print each event and denial")
    .usage("[options] -- <command of your server>")
    .argument("<command...>", "the command of your server, after --")
    .option(
      "--port <number>",
      "the port of your server, which it receives as PORT (default: PORT, or 3000)",
      serverPort,
    )
    .option("--gateway-port <number>", "the port of the local gateway on 127.0.0.1", gatewayPort, 3001)
    .addHelpText("after", EXAMPLES);
  withJson(dev).action((command: readonly string[], options: DevOptions) =>
    withApp(terminal.app(), (sallyport) => runDev(sallyport, terminal, command, options)),
  );
}

const EXAMPLES = `
Examples:
  npx sallyport dev -- node src/server.ts
  npx sallyport dev --port 8000 -- tsx src/server.ts
  npx sallyport dev -- next dev`;

interface DevOptions extends Format {
  readonly port?: number;
  readonly gatewayPort: number;
}

/** A view, and the local gateway in front of it. */
interface ServedView {
  readonly path: string;
  /** Name of the registered gateway: `local` for the first view, then `local 2`. */
  readonly name: string;
  readonly secret: string;
  readonly gateway: LocalGateway;
}

/** The ports of a run. */
interface Ports {
  readonly server: number;
  /** Port of the first local gateway, or 0 for free ports. */
  readonly gateway: number;
}

/** Runs until SIGINT, SIGTERM, the key `q`, or the end of the server. */
async function runDev(
  sallyport: Sallyport,
  terminal: Terminal,
  command: readonly string[],
  options: DevOptions,
): Promise<void> {
  const ports = await portsOf(sallyport, options);
  const log = new DevLog(sallyport, terminal, options);
  const views = await startGateways(sallyport, ports, log);
  const { server: origin, urls } = addressesOf(ports, views);
  let exitCode = 0;
  const stop = new StopSignal();
  const server = new ServerProcess({
    command,
    env: environmentOf(ports, urls),
    isQuiet: options.json === true,
    onExit: (how) => {
      terminal.complain(`The server ended (${how}).`);
      exitCode = 1;
      stop.stop();
    },
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
    for (const view of views) await register(sallyport, view);
    await log.start();
    if (stop.isStopped) return;
    log.print({ type: "started", server: origin, urls }, welcome(origin, urls, server));
    await server.start();
    void acceptsConnections(ports.server, waiting.signal).then((isUp) => {
      if (isUp) log.print({ type: "ready" }, [`The server accepts connections on port ${ports.server}.`]);
    });
    while (!(await stop.within(DENIALS_EVERY_MS))) await log.printDenials();
    if (exitCode === 0)
      terminal.complain("The server is being stopped. Press Ctrl-C again to end it at once.");
  } finally {
    waiting.abort();
    release();
    // The server still receives the disconnects.
    await Promise.all(views.map(({ gateway }) => gateway.close()));
    await server.stop();
    await log.printDenials();
    process.off("exit", kill);
    stop.release();
  }
  terminal.end(exitCode);
}

/** @throws ConfigurationError for ports that are invalid, overlap or are in use */
async function portsOf(sallyport: Sallyport, options: DevOptions): Promise<Ports> {
  const ports = { server: options.port ?? portOfEnvironment(), gateway: options.gatewayPort };
  const views = sallyport.viewPaths.length;
  if (views === 0) {
    throw new ConfigurationError(
      "The app has no views, so no client could connect. Add one to the option views.",
    );
  }
  const last = ports.gateway + views - 1;
  if (ports.gateway > 0 && last > MAX_PORT) {
    throw new ConfigurationError(
      `The ${views} views need the ports from ${ports.gateway} to ${last}. Use a --gateway-port of at most ${MAX_PORT - views + 1}.`,
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

function portOfEnvironment(): number {
  const text = process.env.PORT || "3000";
  const port = numberOf(text);
  if (port !== undefined && port > 0) return port;
  throw new ConfigurationError(`PORT is ${quoted(text)}. Use a whole number from 1 to ${MAX_PORT}.`);
}

/** Starts one local gateway for each view, on ports in a row. */
async function startGateways(
  sallyport: Sallyport,
  ports: Ports,
  log: DevLog,
): Promise<readonly ServedView[]> {
  const { startLocalGateway } = await import("../local/emulator.ts");
  const views: ServedView[] = [];
  try {
    for (const [index, path] of sallyport.viewPaths.entries()) {
      const secret = gatewaySecret();
      const gateway = await startLocalGateway({
        target: `http://localhost:${ports.server}${path}`,
        port: ports.gateway === 0 ? 0 : ports.gateway + index,
        secret,
        onEvent: (event) => log.printEvent(event, path),
        onError: (error, where) => log.printError(error, where),
      });
      views.push({ path, name: index === 0 ? "local" : `local ${index + 1}`, secret, gateway });
    }
    return views;
  } catch (error) {
    await Promise.all(views.map(({ gateway }) => gateway.close()));
    throw error;
  }
}

async function register(sallyport: Sallyport, { name, secret, gateway }: ServedView): Promise<void> {
  const { apiId, endpoint, stage } = gateway;
  await sallyport.registerGateway({ name, apiId, endpoint, stage, secret, hasRestarted: true });
}

/** Returns the addresses of the server, and of the WebSockets by the path of the view. */
function addressesOf({ server }: Ports, views: readonly ServedView[]) {
  // The page and the WebSocket need the same host name, so that cookies reach both.
  const urls = views.map(
    ({ path, gateway }) => [path, gateway.url.replace("127.0.0.1", "localhost")] as const,
  );
  return { server: `http://localhost:${server}`, urls: Object.fromEntries(urls) };
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

function welcome(
  origin: string,
  urls: Readonly<Record<string, string>>,
  server: ServerProcess,
): readonly string[] {
  return [
    ...aligned([
      ["server", origin, server.commandLine],
      ...Object.entries(urls).map(([path, url]) => ["WebSocket", url, path]),
    ]),
    process.stdin.isTTY
      ? "Keys: w explains the last denial, r restarts the server, q quits."
      : "Press Ctrl-C to stop.",
    "",
  ];
}

async function restart(server: ServerProcess, log: DevLog): Promise<void> {
  log.print({ type: "restart" }, ["The server restarts."]);
  await server.restart().catch((error) => log.printError(error, "restart"));
}

function serverPort(text: string): number {
  const port = numberOf(text);
  if (port !== undefined && port > 0) return port;
  throw new InvalidArgumentError(`Use a whole number from 1 to ${MAX_PORT}.`);
}

function gatewayPort(text: string): number {
  const port = numberOf(text);
  if (port !== undefined) return port;
  throw new InvalidArgumentError(`Use a whole number from 0 to ${MAX_PORT}, where 0 selects any free port.`);
}

/** Returns the port that a text names, or undefined. */
function numberOf(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) && Number(text) <= MAX_PORT ? Number(text) : undefined;
}
