import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import type { LambdaFunction } from "../../local/emulator.ts";
import { packageFile } from "../package-file.ts";
import { invocationContext, serveFunctionUrl } from "./function-url.ts";
import { type WatchedOptions, WatchedProcess } from "./watched-process.ts";

/** Header of a request to the process of a function, with the key of this run. */
export const INVOKE_KEY_HEADER = "x-sallyport-invoke-key";
/** Time that a restart of the function may take before a call fails, in milliseconds. */
const RESTART_MS = 10_000;
/** Interval between two attempts to reach a function that restarts, in milliseconds. */
const RETRY_MS = 50;
/** Interval at which the function is invoked as by a schedule, in milliseconds. */
const SCHEDULE_MS = 60_000;

/** The options of {@link LambdaServer}. */
export interface LambdaOptions extends Omit<WatchedOptions, "command" | "advice"> {
  /** The file that exports `handler`. */
  readonly file: string;
  /** Port of the pages. */
  readonly port: number;
  /** Port on which the process of the function receives its invocations. */
  readonly invokePort: number;
  /** Key that each invocation contains. */
  readonly invokeKey: string;
  readonly onError: (error: unknown) => void;
}

/**
 * A Lambda function in a process of its own, with the HTTP server of its pages. It is invoked each
 * minute as by a schedule.
 */
export class LambdaServer {
  readonly commandLine: string;
  readonly #options: LambdaOptions;
  readonly #process: WatchedProcess;
  #pages: Server | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LambdaOptions) {
    this.#options = options;
    this.commandLine = options.file;
    this.#process = new WatchedProcess({
      ...options,
      command: [process.execPath, packageFile("dist/cli/dev/lambda-runner.js"), options.file],
      advice: "Check the installation of Node.js.",
      env: {
        ...options.env,
        SALLYPORT_INVOKE_PORT: String(options.invokePort),
        SALLYPORT_INVOKE_KEY: options.invokeKey,
      },
    });
  }

  async start(): Promise<void> {
    const { port, invokePort, invokeKey, onError } = this.#options;
    const invoke = remoteFunction(invokePort, invokeKey);
    this.#pages = await serveFunctionUrl(invoke, port, onError);
    await this.#process.start();
    this.#timer = setInterval(() => Promise.resolve(invoke(...scheduled())).catch(onError), SCHEDULE_MS);
  }

  restart(): Promise<void> {
    return this.#process.restart();
  }

  stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#pages?.closeAllConnections();
    this.#pages?.close();
    return this.#process.stop();
  }

  kill(): void {
    this.#process.kill();
  }
}

/**
 * Returns a function that invokes the function of another process. It waits while that process
 * restarts.
 *
 * @throws Error with the message of a function that failed
 */
export function remoteFunction(port: number, key: string): LambdaFunction {
  return async (event: unknown, context: { readonly awsRequestId: string }) => {
    const response = await post(port, JSON.stringify(event), {
      "lambda-runtime-aws-request-id": context.awsRequestId,
      [INVOKE_KEY_HEADER]: key,
    });
    const document: unknown = await response.json();
    if (response.ok) return document;
    const { errorMessage } = document as { readonly errorMessage?: string };
    throw new Error(
      `The function failed: ${errorMessage ?? `status ${response.status}`}. Read the error that it printed.`,
    );
  };
}

async function post(port: number, body: string, headers: Record<string, string>): Promise<Response> {
  // The URL of the AWS Lambda Runtime Interface Emulator.
  const url = `http://127.0.0.1:${port}/2015-03-31/functions/function/invocations`;
  const since = performance.now();
  for (;;) {
    try {
      return await fetch(url, { method: "POST", body, headers });
    } catch (error) {
      const isRestarting = (error as { cause?: { code?: string } }).cause?.code === "ECONNREFUSED";
      if (!isRestarting || performance.now() - since > RESTART_MS) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** Returns the arguments of an invocation by a rule of Amazon EventBridge. */
function scheduled(): Parameters<LambdaFunction> {
  const id = randomUUID();
  const event = { id, source: "aws.events", "detail-type": "Scheduled Event", detail: {} };
  return [event, invocationContext(id), () => undefined];
}
