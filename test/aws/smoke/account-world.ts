import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createServer, type Server as TlsServer } from "node:tls";
import type { RouteSettings } from "@aws-sdk/client-apigatewayv2";
import { serveFunctionUrl } from "../../../src/cli/dev/function-url.ts";
import { type LocalGateway, startLocalGateway, type Throttling } from "../../../src/local/emulator.ts";
import { Clock } from "../control-plane/rates.ts";
import { ControlPlane } from "../control-plane/server.ts";
import { servedApi } from "../served.ts";
import { FunctionProcesses } from "./function-processes.ts";

const root = resolve(import.meta.dirname, "../../..");
export const REGION = "eu-west-1";
const KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not a secret" };
/** The APIs that the local gateway serves, in the order of their creation. */
const API_IDS = ["smokeapi01", "smokeapi02"];
/** The local gateway requires a route at its start. */
const NEVER = { integration: { type: "AWS_PROXY", handler: () => null } } as const;

/** How a run of the smoke test ended. */
export interface Run {
  readonly code: number | null;
  /** What it printed, line by line. */
  readonly lines: readonly string[];
}

/** Options of the local gateway that change a limit or a behavior of AWS. */
export interface Limits {
  readonly idleTimeoutMs?: number;
  readonly maxConnectionMs?: number;
  /** What a client receives for an HTTP response with another status than 2xx. */
  readonly onHttpError?: "errorFrame";
  /** The time limit of the probe route. Default: what was provisioned. */
  readonly probeTimeoutMs?: number;
}

/**
 * A stand-in of an AWS account: the control plane of the tests, a local gateway for the API, and a
 * process for the function.
 */
export class AccountWorld {
  readonly aws: ControlPlane;
  readonly functions: FunctionProcesses;
  readonly #folder: string;
  readonly #gateway: LocalGateway;
  readonly #servers: readonly (Server | TlsServer)[];
  readonly #environment: Readonly<Record<string, string>>;
  #children: ChildProcess[] = [];

  private constructor(
    parts: Pick<AccountWorld, "aws" | "functions"> & {
      folder: string;
      gateway: LocalGateway;
      servers: readonly (Server | TlsServer)[];
      environment: Readonly<Record<string, string>>;
    },
  ) {
    this.aws = parts.aws;
    this.functions = parts.functions;
    this.#folder = parts.folder;
    this.#gateway = parts.gateway;
    this.#servers = parts.servers;
    this.#environment = parts.environment;
  }

  static async open(tls: { key: string; cert: string }, limits: Limits = {}): Promise<AccountWorld> {
    const folder = await mkdtemp(join(tmpdir(), "sallyport-account-"));
    const ca = join(folder, "ca.pem");
    await writeFile(ca, tls.cert);
    const environment = {
      PATH: process.env.PATH ?? "",
      HOME: folder,
      AWS_REGION: REGION,
      AWS_ACCESS_KEY_ID: KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey,
      AWS_EC2_METADATA_DISABLED: "true",
      NODE_EXTRA_CA_CERTS: ca,
      NODE_NO_WARNINGS: "1",
    };
    const functions = new FunctionProcesses(folder, environment);
    const { probeTimeoutMs, ...timeouts } = limits;
    const gateway = await startLocalGateway({
      apis: API_IDS.map((id) => ({
        id,
        routes: { $default: NEVER },
        stages: { none: { deployed: false } },
      })),
      port: 0,
      tls,
      credentials: { ...KEY, region: REGION },
      ...timeouts,
    });
    const aws = await ControlPlane.start(REGION, new Clock({ runs: true }));
    aws.deployed.host = functions;
    const [server, tlsServer] = await serveUrl(functions, tls);
    functions.url = `https://localhost:${portOf(tlsServer)}`;
    const origins = { [functions.url]: [`http://localhost:${portOf(server)}`] };
    serve(aws, gateway, functions, origins, probeTimeoutMs);
    return new AccountWorld({ aws, functions, folder, gateway, servers: [server, tlsServer], environment });
  }

  /**
   * Runs `npm run test:aws`.
   *
   * @param onLine called with each line, for example to send a signal
   */
  async run(args: readonly string[], onLine?: (line: string, child: ChildProcess) => void): Promise<Run> {
    const jiti = join(root, "node_modules/jiti/lib/jiti-cli.mjs");
    const env = { ...this.#environment, AWS_ENDPOINT_URL: this.aws.endpoint };
    const main = join(root, "test/aws-account/main.ts");
    const child = spawn(process.execPath, [jiti, main, ...args], { env, cwd: root });
    this.#children.push(child);
    const lines: string[] = [];
    let rest = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        const parts = (rest + chunk).split("\n");
        rest = parts.pop() ?? "";
        for (const line of parts) {
          lines.push(line);
          onLine?.(line, child);
        }
      });
    }
    const [code] = (await once(child, "close")) as [number | null];
    return { code, lines };
  }

  /** The kinds and names of the resources that exist. */
  get resources(): readonly string[] {
    return [
      ...this.aws.apis.all().map(({ Name }) => `API ${Name}`),
      ...this.aws.deployed.all().map(({ name }) => `function ${name}`),
      ...this.aws.roles.names().map((name) => `role ${name}`),
    ];
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    this.functions.stopAll();
    for (const server of this.#servers) server.close();
    await this.#gateway.close();
    await this.aws.close();
    await rm(this.#folder, { recursive: true, force: true });
    for (const error of this.aws.thrown) throw error;
  }
}

/** Serves what is deployed in the control plane with the local gateway. */
function serve(
  aws: ControlPlane,
  gateway: LocalGateway,
  functions: FunctionProcesses,
  origins: Readonly<Record<string, readonly string[]>>,
  probeTimeoutMs: number | undefined,
): void {
  const { identify } = aws.apis;
  const stages = new Set<string>();
  aws.apis.identify = () => {
    const id = API_IDS.find((each) => aws.apis.all().every(({ ApiId }) => ApiId !== each));
    return id === undefined ? identify() : { ApiId: id, ApiEndpoint: new URL(gateway.url).origin };
  };
  aws.apis.onServed = (
    apiId,
    { StageName: stage = "", DefaultRouteSettings, RouteSettings = {} },
    snapshot,
  ) => {
    const functionOf = (arn: string) => (event: unknown) => {
      // As at AWS, the policy of the function decides.
      const source = `arn:aws:execute-api:${REGION}:${arn.split(":")[4]}:${apiId}/${stage}/$default`;
      if (!aws.functions.allows(arn, source)) throw new Error(`${apiId} may not invoke ${arn}`);
      return functions.call(arn.split(":")[6] ?? "", event);
    };
    const integrations = snapshot.integrations.map((integration) => {
      const isProbe = integration.Description === "sallyport probe";
      return isProbe && probeTimeoutMs ? { ...integration, TimeoutInMillis: probeTimeoutMs } : integration;
    });
    const throttling = throttlingOf(DefaultRouteSettings);
    const routes = Object.entries(RouteSettings).map(([key, settings]) => [key, throttlingOf(settings)]);
    const options = { ...(throttling ? { throttling } : {}), routeSettings: Object.fromEntries(routes) };
    gateway.deploy(servedApi({ ...snapshot, integrations }, origins, functionOf), {
      apiId,
      stage,
      // The options of a stage are those at its first deployment.
      ...(stages.has(stage) ? {} : { options }),
    });
    stages.add(stage);
  };
}

function throttlingOf(settings: RouteSettings | undefined): Throttling | undefined {
  const { ThrottlingRateLimit: ratePerSecond, ThrottlingBurstLimit: burst } = settings ?? {};
  return ratePerSecond === undefined || burst === undefined ? undefined : { ratePerSecond, burst };
}

/** Serves the URL of the function, without and with TLS. */
async function serveUrl(
  functions: FunctionProcesses,
  tls: { key: string; cert: string },
): Promise<readonly [Server, TlsServer]> {
  const server = await serveFunctionUrl(
    (event) => functions.call(functions.names[0] ?? "", event),
    0,
    () => undefined,
  );
  const tlsServer = createServer(tls, (socket) => {
    const plain = connect(portOf(server), "localhost");
    for (const side of [socket, plain]) side.on("error", () => [socket, plain].map((each) => each.destroy()));
    socket.pipe(plain).pipe(socket);
  });
  tlsServer.listen(0, "localhost");
  await once(tlsServer, "listening");
  return [server, tlsServer];
}

function portOf(server: Server | TlsServer): number {
  return (server.address() as AddressInfo).port;
}
