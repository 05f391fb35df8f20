import { type Command, InvalidArgumentError } from "commander";
import { gatewaySecret } from "../aws.ts";
import { ConfigurationError } from "../errors.ts";
import type { HandledEvent, LocalGateway } from "../local/emulator.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import { EventLines } from "./dev/event-lines.ts";
import { onKeys } from "./dev/keys.ts";
import { acceptsConnections, ServerProcess } from "./dev/server-process.ts";
import { NewDecisions } from "./new-decisions.ts";
import { type Format, print, withJson } from "./report.ts";
import { endSignal } from "./signals.ts";
import { aligned } from "./table.ts";
import { oneLine, type Terminal } from "./terminal.ts";
import { explainStored } from "./why.ts";

/** Interval at which new denials are read from the database, in milliseconds. */
const DENIALS_EVERY_MS = 250;

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
      port,
    )
    .option("--gateway-port <number>", "the port of the local gateway on 127.0.0.1", port, 3001)
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

/** Runs until SIGINT, SIGTERM, the key `q`, or the end of the server. */
async function runDev(
  sallyport: Sallyport,
  terminal: Terminal,
  command: readonly string[],
  options: DevOptions,
): Promise<void> {
  const serverPort = options.port ?? port(process.env.PORT || "3000");
  const end = endSignal();
  let exitCode = 0;
  const stopping = new AbortController();
  const stop = () => process.kill(process.pid, "SIGINT");
  const log = new DevLog(sallyport, terminal, options);
  const views = await startGateways(sallyport, serverPort, options.gatewayPort, log);
  const server = new ServerProcess(command, environmentOf(serverPort, views), (how) => {
    terminal.complain(`The server ended (${how}).`);
    exitCode = 1;
    stop();
  });
  // A second Ctrl-C, and a terminal that closes, do not wait for the server.
  const endAtOnce = () => {
    server.kill();
    process.exit(130);
  };
  process.once("SIGHUP", endAtOnce);
  const release = onKeys({
    w: () => void log.explainLast(),
    r: () => void restart(server, log),
    q: stop,
  });
  try {
    await sallyport.migrate();
    for (const view of views) await register(sallyport, view);
    log.print({ type: "started", ...startedAt(serverPort, views) }, welcome(serverPort, views, server));
    await log.start();
    await server.start();
    void acceptsConnections(serverPort, stopping.signal).then((isUp) => {
      if (isUp) log.print({ type: "ready" }, [`The server accepts connections on port ${serverPort}.`]);
    });
    while (!(await end.within(DENIALS_EVERY_MS))) await log.printDenials();
    await log.printDenials();
    if (exitCode === 0)
      terminal.complain("The server is being stopped. Press Ctrl-C again to end it at once.");
  } finally {
    stopping.abort();
    release();
    process.on("SIGINT", endAtOnce);
    await server.stop();
    await Promise.all(views.map(({ gateway }) => gateway.close()));
    process.off("SIGINT", endAtOnce).off("SIGHUP", endAtOnce);
  }
  terminal.end(exitCode);
}

/** Starts one local gateway for each view, on ports in a row. */
async function startGateways(
  sallyport: Sallyport,
  serverPort: number,
  firstPort: number,
  log: DevLog,
): Promise<readonly ServedView[]> {
  if (sallyport.viewPaths.length === 0) {
    throw new ConfigurationError(
      "The app has no views, so no client could connect. Add one to the option views.",
    );
  }
  const { startLocalGateway } = await import("../local/emulator.ts");
  const views: ServedView[] = [];
  for (const [index, path] of sallyport.viewPaths.entries()) {
    const secret = gatewaySecret();
    const gateway = await startLocalGateway({
      target: `http://localhost:${serverPort}${path}`,
      port: firstPort === 0 ? 0 : firstPort + index,
      secret,
      onEvent: (event) => log.printEvent(event, path),
      onError: (error, where) => log.printError(error, where),
    });
    views.push({ path, name: index === 0 ? "local" : `local ${index + 1}`, secret, gateway });
  }
  return views;
}

async function register(sallyport: Sallyport, { name, secret, gateway }: ServedView): Promise<void> {
  const { apiId, endpoint, stage } = gateway;
  await sallyport.registerGateway({ name, apiId, endpoint, stage, secret, hasRestarted: true });
}

/** Returns the addresses of the server and of the WebSockets, by the path of the view. */
function startedAt(serverPort: number, views: readonly ServedView[]) {
  const urls = Object.fromEntries(views.map(({ path, gateway }) => [path, urlOf(gateway)]));
  return { server: `http://localhost:${serverPort}`, urls };
}

/** Returns the variables by which the server finds its port and the gateway. */
function environmentOf(serverPort: number, views: readonly ServedView[]): Readonly<Record<string, string>> {
  const { urls } = startedAt(serverPort, views);
  return {
    PORT: String(serverPort),
    SALLYPORT_DEV: "1",
    SALLYPORT_URL: Object.values(urls)[0] ?? "",
    SALLYPORT_URLS: JSON.stringify(urls),
  };
}

/** The page and the WebSocket need the same host name, so that cookies reach both. */
function urlOf({ url }: LocalGateway): string {
  return url.replace("127.0.0.1", "localhost");
}

function welcome(serverPort: number, views: readonly ServedView[], server: ServerProcess): readonly string[] {
  return [
    ...aligned([
      ["server", `http://localhost:${serverPort}`, server.commandLine],
      ...views.map(({ path, gateway }) => ["WebSocket", urlOf(gateway), path]),
    ]),
    process.stdin.isTTY
      ? "Keys: w explains the last denial, r restarts the server, q quits."
      : "Press Ctrl-C to stop.",
    "",
  ];
}

async function restart(server: ServerProcess, log: DevLog): Promise<void> {
  log.print({ type: "restart" }, ["The server restarts."]);
  await server.stop();
  await server.start().catch((error) => log.printError(error, "restart"));
}

/** Prints what happens, in the order in which it happened. */
class DevLog {
  readonly #sallyport: Sallyport;
  readonly #terminal: Terminal;
  readonly #format: Format;
  readonly #lines: EventLines;
  readonly #denials: NewDecisions;
  #printing: Promise<void> = Promise.resolve();
  #lastReference: string | undefined;

  constructor(sallyport: Sallyport, terminal: Terminal, format: Format) {
    this.#sallyport = sallyport;
    this.#terminal = terminal;
    this.#format = format;
    this.#lines = new EventLines(sallyport);
    this.#denials = new NewDecisions(sallyport, { verdict: "denied", limit: 1 });
  }

  /** Excludes the denials that were stored before. */
  async start(): Promise<void> {
    this.#denials.printed(await this.#denials.next());
  }

  /** Prints lines, or with `--json` one document. */
  print(json: { readonly type: string; readonly [field: string]: unknown }, lines: readonly string[]): void {
    print(this.#terminal, this.#format, { json, lines });
  }

  printEvent(event: HandledEvent, view: string): void {
    this.#inOrder(async () => {
      const line = await this.#lines.ofEvent(event, view);
      if (line !== undefined || this.#format.json)
        this.print({ type: "event", ...event, view }, [line ?? ""]);
    });
  }

  printError(error: unknown, where: string): void {
    this.#terminal.complain(`${where}: ${oneLine(error)}`);
  }

  /** Prints the denials that were stored since the last call. */
  async printDenials(): Promise<void> {
    this.#inOrder(async () => {
      const found = await this.#denials.next();
      for (const decision of found.decisions) {
        this.#lastReference = decision.reference;
        this.print({ type: "denial", ...decision }, [await this.#lines.ofDenial(decision)]);
      }
      this.#denials.printed(found);
    });
    await this.#printing;
  }

  /** Prints why the last denial was denied, rule by rule. */
  async explainLast(): Promise<void> {
    const reference = this.#lastReference;
    if (reference === undefined) return this.print({ type: "explanation" }, ["Nothing was denied yet."]);
    const { json, lines } = await explainStored(this.#sallyport, reference);
    this.print({ type: "explanation", ...(json as object) }, lines);
  }

  #inOrder(print: () => Promise<void>): void {
    this.#printing = this.#printing.then(print).catch((error) => this.printError(error, "sallyport dev"));
  }
}

function port(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new InvalidArgumentError("Use a whole number from 0 to 65535.");
}
