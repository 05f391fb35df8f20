import { setTimeout as sleep } from "node:timers/promises";
import {
  type $Command,
  ApiGatewayV2Client,
  type ServiceInputTypes,
  type ServiceOutputTypes,
} from "@aws-sdk/client-apigatewayv2";
import * as v from "valibot";
import { ProvisioningError } from "../../errors.ts";
import { functionOption, wholeNumberOption } from "../../options.ts";
import { rejectForeignAnswers } from "./foreign-answers.ts";
import { type ClientConfig, FunctionPolicies } from "./function-policies.ts";

/** How AWS is reached. */
export interface ControlPlaneOptions {
  /** Another address than AWS's, for both services. Default: AWS's own. */
  readonly endpoint?: string | undefined;
  /** Waits, in milliseconds; a test's may be shorter. Default: a timer. */
  readonly wait?: ((ms: number) => Promise<unknown>) | undefined;
  /** How long a call may take, in milliseconds. Default 30 000. */
  readonly timeoutMs?: number | undefined;
  /** The time, in epoch milliseconds, for how old a deployment is. Default: this machine's. */
  readonly now?: (() => number) | undefined;
  /** Ends a run before its next change, or while it waits; the next run goes on from there. Default: nothing does. */
  readonly signal?: AbortSignal | undefined;
}

/** The schemas of the options of calls to AWS. */
export const CONTROL_PLANE_SCHEMAS = {
  endpoint: v.optional(
    v.pipe(
      v.string("must be a URL"),
      v.check((text) => URL.canParse(text), "must be a URL"),
    ),
  ),
  wait: v.optional(
    functionOption<(ms: number) => Promise<unknown>>("that waits for a number of milliseconds"),
  ),
  timeoutMs: v.optional(wholeNumberOption(1, 2 ** 31 - 1, "milliseconds")),
  now: v.optional(functionOption<() => number>("that returns epoch milliseconds")),
  signal: v.optional(v.instance(AbortSignal, "must be an AbortSignal")),
};

/** Longest time that a call is tried again because AWS has had enough of them, in milliseconds. */
const THROTTLED_FOR_MS = 120_000;
/** Shortest and longest pause after AWS has had enough, in milliseconds. */
const PAUSE_MS = { least: 500, most: 15_000 };
/** How often a call that only reads is made while AWS fails. */
const READ_TRIES = 4;
const CONNECT_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 30_000;

type GatewayCommand<Input extends ServiceInputTypes, Output extends ServiceOutputTypes> = $Command<
  Input,
  Output,
  ApiGatewayV2Client["config"],
  ServiceInputTypes,
  ServiceOutputTypes
>;

/**
 * AWS's side of provisioning. A call is tried again where it is certain that nothing was done: it was refused because of its rate, or only reads.
 * For what else failed, whoever called looks at what is there before the next try; the SDK itself never repeats a call, since a
 * repeated `CreateApi` makes two.
 */
export class ControlPlane {
  readonly region: string;
  readonly now: () => number;
  readonly #options: ControlPlaneOptions;
  readonly #gateways: ApiGatewayV2Client;
  #functions: Promise<FunctionPolicies> | undefined;

  constructor(region: string, options: ControlPlaneOptions = {}) {
    this.region = region;
    this.now = options.now ?? Date.now;
    this.#options = options;
    this.#gateways = new ApiGatewayV2Client(this.#clientOptions());
    rejectForeignAnswers(this.#gateways, region);
  }

  /** @throws ControlPlaneError where the run is to end */
  async wait(ms: number): Promise<void> {
    this.checkGoingOn();
    const { signal, wait = (ms: number) => sleep(ms, undefined, signal && { signal }) } = this.#options;
    await wait(ms).catch((error) => {
      this.checkGoingOn();
      throw error;
    });
  }

  /** @throws ControlPlaneError where the run is to end */
  checkGoingOn(): void {
    if (this.#options.signal?.aborted !== true) return;
    throw new ProvisioningError(
      "The run was told to stop. What it has done stays as it is, and the next one goes on from there.",
    );
  }

  /** Asks API Gateway something. @throws ControlPlaneError */
  read<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: GatewayCommand<Input, Output>,
  ): Promise<Output> {
    return this.#call(nameOf(command), () => this.#gateways.send(command), READ_TRIES);
  }

  /** Changes something at API Gateway. @throws ControlPlaneError */
  write<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: GatewayCommand<Input, Output>,
  ): Promise<Output> {
    return this.#call(nameOf(command), () => this.#gateways.send(command), 1);
  }

  /** Every page of what API Gateway lists. */
  async list<Item>(
    read: (token: string | undefined) => Promise<{
      readonly Items?: Item[] | undefined;
      readonly NextToken?: string | undefined;
    }>,
  ): Promise<readonly Item[]> {
    const items: Item[] = [];
    let token: string | undefined;
    do {
      const page = await read(token);
      items.push(...(page.Items ?? []));
      token = page.NextToken;
    } while (token);
    return items;
  }

  /** Who may invoke functions. */
  async functions(): Promise<FunctionPolicies> {
    this.#functions ??= FunctionPolicies.open(this.#clientOptions(), (name, isRead, send) =>
      this.#call(name, send, isRead ? READ_TRIES : 1),
    );
    return this.#functions;
  }

  async #call<Output>(operation: string, send: () => Promise<Output>, tries: number): Promise<Output> {
    let throttledMs = 0;
    for (let tried = 1, pause = PAUSE_MS.least; ; pause = Math.min(pause * 2, PAUSE_MS.most)) {
      try {
        return await send();
      } catch (error) {
        const failure = failureOf(operation, this.region, error);
        const isPatient = failure.isThrottled && throttledMs < THROTTLED_FOR_MS;
        if (!isPatient && (tried === tries || !failure.isPassing)) throw failure;
        if (!isPatient) tried++;
        // Never less than half of it: what is allowed once in five seconds is not there sooner by asking.
        const ms = pause * (0.5 + Math.random() / 2);
        throttledMs += ms;
        await this.wait(ms);
      }
    }
  }

  #clientOptions(): ClientConfig {
    const { endpoint, timeoutMs = REQUEST_TIMEOUT_MS } = this.#options;
    return {
      region: this.region,
      maxAttempts: 1,
      requestHandler: {
        connectionTimeout: CONNECT_TIMEOUT_MS,
        requestTimeout: timeoutMs,
        // Left out, it only warns.
        throwOnRequestTimeout: true,
      },
      ...(endpoint === undefined ? {} : { endpoint }),
    };
  }

  async close(): Promise<void> {
    this.#gateways.destroy();
    (await this.#functions?.catch(() => undefined))?.close();
  }
}

function nameOf(command: object): string {
  return command.constructor.name.replace(/Command$/, "");
}

const HINTS: Readonly<Record<string, string>> = {
  CredentialsProviderError:
    "No credentials were found. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
  AccessDeniedException:
    "`sallyport gateway policy` prints what a role needs that deploys: again after the first apply, and with --former for what the definition no longer names.",
  UnrecognizedClientException: "AWS does not know these credentials.",
  InvalidSignatureException: "Is this machine's clock right?",
  ExpiredTokenException: "Sign in again.",
};

/** AWS repeats what it refuses. */
function withoutSecrets(message: string): string {
  return message.replace(/'[A-Za-z0-9_-]{32,256}'/g, "'…'");
}

function failureOf(operation: string, region: string, error: unknown): ProvisioningError {
  if (error instanceof ProvisioningError) return error;
  const {
    name = "Error",
    message = "",
    $metadata,
  } = error as Error & { $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  const hint = HINTS[name];
  const asked = status === undefined ? "was not answered" : `was answered ${status}`;
  return new ProvisioningError(
    `${operation} in ${region} ${asked}: ${name}: ${withoutSecrets(message)}${hint === undefined ? "" : `. ${hint}`}`,
    // Not the error itself, which has AWS's words as they were.
    { awsError: name, awsStatus: status },
  );
}
