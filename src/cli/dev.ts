import type { Command } from "commander";
import { gatewaySecret } from "../aws.ts";
import { ConfigurationError } from "../errors.ts";
import type { Sallyport } from "../sallyport.ts";
import { withAppOfEnvironment } from "./app.ts";
import { actor } from "./change.ts";
import { AppWatcher } from "./dev/app-watcher.ts";
import { DevLog } from "./dev/dev-log.ts";
import { type DevDatabase, startEmbeddedPostgres } from "./dev/embedded-postgres.ts";
import { functionRoutes, routeKey } from "./dev/function-routes.ts";
import {
  type Backend,
  closeGateways,
  inspectorUrls,
  registerGateways,
  type ServedView,
  startGateways,
  webSocketUrls,
} from "./dev/gateways.ts";
import { onKeys } from "./dev/keys.ts";
import { LambdaServer, remoteFunction } from "./dev/lambda-function.ts";
import { acceptsConnections, tokenRouteProblem } from "./dev/listening.ts";
import { ManagedProcess } from "./dev/managed-process.ts";
import { MigrationReport } from "./dev/migration-report.ts";
import { gatewayPort, type Ports, portsOf, serverPort } from "./dev/ports.ts";
import { isWatched, withReload } from "./dev/reload.ts";
import { WatchedProcess } from "./dev/watched-process.ts";
import { loadEnvironment } from "./environment.ts";
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
    .option("--route <key>", "a custom route of the function (can be repeated)", routeKey)
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
  readonly route?: readonly string[];
  readonly embeddedPostgres?: boolean;
  readonly port?: number;
  readonly gatewayPort?: number;
}

/** Starts the database if it is asked for, and runs the app. */
async function startDev(terminal: Terminal, command: readonly string[], options: DevOptions): Promise<void> {
  if (command.length > 0 === (options.lambda !== undefined)) {
    throw new ConfigurationError(
      "dev needs either the command of a server or a function. Use: sallyport dev -- <command>, or: sallyport dev --lambda <file>",
    );
  }
  if (options.route !== undefined && options.lambda === undefined) {
    throw new ConfigurationError(
      "--route needs --lambda, because each view of a server has a gateway of its own. Remove --route.",
    );
  }
  // The app reads DATABASE_URL when it is loaded.
  loadEnvironment();
  const database = options.embeddedPostgres ? await startEmbeddedPostgres() : undefined;
  try {
    await withAppOfEnvironment(terminal.app(), (sallyport) =>
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
  const paths = servedPaths(run);
  const ports = await portsOf(options, paths.length);
  const log = new DevLog(sallyport, terminal, options);
  const views = await startGateways(paths, ports.gateway, backendOf(run, ports), log);
  let exitCode = 0;
  const stop = new StopSignal();
  const server = serverOf(run, ports, views, log, (how) => {
    terminal.complain(`The server ended (${how}).`);
    exitCode = 1;
    stop.stop();
  });
  const watcher = watcherOf(run, log);
  const kill = () => {
    server.kill();
    watcher.kill();
  };
  process.once("exit", kill);
  const waiting = new AbortController();
  const release = onKeys({
    w: () => void log.explainLast(),
    r: restarter(server, watcher, log),
    q: () => stop.stop(),
  });
  try {
    await sallyport.migrate({ by: actor() });
    await registerGateways(sallyport, views);
    await log.start();
    if (stop.isStopped) return;
    printWelcome(log, run, ports, views, server);
    reportUnroutedViews(run);
    await server.start();
    await watcher.start();
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
      if (!isUp) return;
      log.print({ type: "ready" }, [`The server accepts connections on port ${ports.server}.`]);
      void tokenRouteProblem(ports.server, sallyport.tokenPath, waiting.signal).then((problem) => {
        if (problem !== undefined) terminal.complain(problem);
      });
    });
    while (!(await stop.within(DENIALS_EVERY_MS))) await log.printDenials();
    if (exitCode === 0)
      terminal.complain("The server is being stopped. Press Ctrl-C again to end it at once.");
  } finally {
    waiting.abort();
    release();
    // The server still receives the disconnects.
    await closeGateways(views);
    await Promise.all([server.stop(), watcher.stop()]);
    await log.printDenials();
    process.off("exit", kill);
    stop.release();
  }
  terminal.end(exitCode);
}

/** Reports that clients of a function reach its other views by routes only. */
function reportUnroutedViews({ sallyport, terminal, options }: Run): void {
  const { viewPaths } = sallyport;
  if (
    options.lambda === undefined ||
    viewPaths.length <= functionRoutes(sallyport, options.route).keys.length + 1
  )
    return;
  terminal.complain(
    `The app has ${viewPaths.length} views, but the function has too few custom routes. Add --route for each other view: see docs/guides/local-development.md#add-a-view.`,
  );
}

/**
 * Returns the paths of the views that have a local gateway. A function has one gateway, because it
 * selects the view itself.
 */
function servedPaths({ sallyport, options }: Run): readonly string[] {
  const { viewPaths } = sallyport;
  if (viewPaths.length > 0) return options.lambda === undefined ? viewPaths : viewPaths.slice(0, 1);
  throw new ConfigurationError(
    "The app has no views, so no client could connect. Add one to the option views.",
  );
}

function backendOf({ sallyport, options, invokeKey }: Run, ports: Ports): Backend {
  if (options.lambda === undefined) return { port: ports.server };
  return {
    invoke: remoteFunction(ports.invoke, invokeKey),
    routes: functionRoutes(sallyport, options.route),
  };
}

/** The server of the app: a command, or a Lambda function. */
type Server = Pick<ManagedProcess, "commandLine" | "start" | "restart" | "stop" | "kill">;

/** @param onExit called if the server ends by itself */
function serverOf(
  { terminal, command, options, invokeKey }: Run,
  ports: Ports,
  views: readonly ServedView[],
  log: DevLog,
  onExit: (how: string) => void,
): Server {
  const env = environmentOf(ports, webSocketUrls(views));
  const common = { env, output: options.json ? "stderr" : "inherit" } as const;
  const watched = {
    ...common,
    onRestart: () => log.print({ type: "restart" }, ["A file changed. The server restarts."]),
    onExit: (how: string) =>
      terminal.complain(`The server ended (${how}). It starts again when one of its files changes.`),
  };
  if (options.lambda === undefined) {
    const advice = "Check the command after --.";
    return isWatched(command)
      ? new WatchedProcess({ ...watched, command, advice })
      : new ManagedProcess({ ...common, command: withReload(command), advice, onExit });
  }
  return new LambdaServer({
    ...watched,
    file: options.lambda,
    port: ports.server,
    invokePort: ports.invoke,
    invokeKey,
    onError: (error) => log.printError(error, "function"),
  });
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
  const inspectors = inspectorUrls(views);
  log.print(
    { type: "started", server: origin, urls, inspectors, ...(database ? { database: database.url } : {}) },
    [
      ...aligned([
        ["server", origin, commandLine],
        ...Object.entries(urls).map(([path, url]) => ["WebSocket", url, path]),
        ...Object.entries(inspectors).map(([path, url]) => ["inspector", url, path]),
        ...(database ? [["database", database.url, database.note]] : []),
      ]),
      process.stdin.isTTY
        ? "Keys: w explains the last denial, r restarts the server, q quits."
        : "Press Ctrl-C to stop.",
      "",
    ],
  );
}

/** Returns the watcher of the app's files, which prints what its migrations changed. */
function watcherOf({ sallyport, terminal, options }: Run, log: DevLog): AppWatcher {
  const report = new MigrationReport(
    log,
    terminal,
    options.lambda === undefined
      ? { kind: "views", paths: sallyport.viewPaths }
      : { kind: "function", routes: functionRoutes(sallyport) },
  );
  return new AppWatcher({
    app: terminal.app(),
    onOutcome: (outcome) => report.print(outcome),
  });
}

/** Returns a function that migrates and restarts the server, unless that is in progress. */
function restarter(server: Server, watcher: AppWatcher, log: DevLog): () => void {
  let isRestarting = false;
  const restart = async () => {
    log.print({ type: "restart" }, ["The server restarts."]);
    // The new server finds its permissions in the database.
    await watcher.migrate();
    await server.restart();
  };
  return () => {
    if (isRestarting) return;
    isRestarting = true;
    void restart()
      .catch((error) => log.printError(error, "restart"))
      .finally(() => {
        isRestarting = false;
      });
  };
}
