import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { Socket } from "../integration/world.ts";

const SECRET = "s".repeat(32);

/** Credentials that sign calls to the Management API. `app.ts` has the same ones. */
const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret", region: "eu-west-1" };

/** A build of `app.ts` in its own process. */
export class RunningApp {
  readonly #child: ChildProcess;
  readonly #url: string;
  readonly #gateways: LocalGateway[] = [];

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.#url = url;
  }

  /**
   * Starts a command and waits until the app serves.
   *
   * @param database path of a SQLite file, or a connection string
   */
  static async start(command: readonly [string, ...string[]], database: string): Promise<RunningApp> {
    const [program, ...parameters] = command;
    const child = spawn(program, parameters, {
      env: { ...process.env, TEST_DATABASE: database, NODE_ENV: "production" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let complaints = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      complaints += text;
    });
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`The app exited with ${code}: ${complaints}`);
    });
    ended.catch(() => undefined);
    const line = once(createInterface(child.stdout as NodeJS.ReadableStream), "line");
    const [text] = (await Promise.race([line, ended])) as [string];
    return new RunningApp(child, (JSON.parse(text) as { url: string }).url);
  }

  async control<Result>(name: string, body: object = {}): Promise<Result> {
    const response = await fetch(`${this.#url}/control/${name}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    const result = (await response.json()) as Result & Error;
    if (!response.ok) throw new Error(`${result.name}: ${result.message}`);
    return result;
  }

  /** A gateway that sends events to the app as HTTP requests. */
  async httpGateway(): Promise<LocalGateway> {
    const gateway = await startLocalGateway({
      target: `${this.#url}/ws/chat/`,
      port: 0,
      secret: SECRET,
      credentials,
    });
    return this.#registered(gateway, { secret: SECRET });
  }

  /** A gateway that invokes the Lambda handler of the app. */
  async lambdaGateway(): Promise<LocalGateway> {
    const integration = {
      type: "AWS_PROXY" as const,
      handler: (event: object) => this.control("invoke", event),
    };
    const routes = {
      $connect: { integration },
      $disconnect: { integration },
      $default: { integration, routeResponse: true },
    };
    const gateway = await startLocalGateway({
      apis: [{ id: "a1b2c3d4e5", routes, stages: { dev: {} } }],
      port: 0,
    });
    return this.#registered(gateway, {});
  }

  async #registered(gateway: LocalGateway, proof: object): Promise<LocalGateway> {
    this.#gateways.push(gateway);
    const { apiId, endpoint } = gateway;
    await this.control("register", { name: `gateway ${this.#gateways.length}`, apiId, endpoint, ...proof });
    return gateway;
  }

  async connect(gateway: LocalGateway, user: string): Promise<Socket> {
    const cookie = `login=${user}`;
    const response = await fetch(`${this.#url}/api/ws-token`, { method: "POST", headers: { cookie } });
    if (!response.ok) throw new Error(`No token: ${response.status} ${await response.text()}`);
    const { token } = (await response.json()) as { token: string };
    const url = new URL(gateway.url);
    url.searchParams.set("ws_token", token);
    url.searchParams.set("channel", "rooms/all");
    return Socket.open(url, { cookie });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#gateways.map((gateway) => gateway.close()));
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
