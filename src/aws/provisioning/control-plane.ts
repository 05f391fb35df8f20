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

/** The options of calls to AWS. */
export interface ControlPlaneOptions {
  /**
   * The URL of API Gateway and Lambda, such as `http://127.0.0.1:5000` for a simulation of AWS.
   * Default: the endpoints of AWS.
   */
  readonly endpoint?: string | undefined;
  /** Waits for a number of milliseconds. A test can pass a shorter wait. Default: a timer. */
  readonly wait?: ((ms: number) => Promise<unknown>) | undefined;
  /** Time limit of a call, in milliseconds. Default 30 000. */
  readonly timeoutMs?: number | undefined;
  /**
   * Returns the current time in epoch milliseconds, from which the age of a deployment is computed.
   * Default: the clock of this machine.
   */
  readonly now?: (() => number) | undefined;
  /**
   * Interrupts a run before its next change, or during a wait. The next run continues from there.
   * Default: none.
   */
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

/** The total time for which a throttled call is retried, in milliseconds. */
const THROTTLED_FOR_MS = 120_000;
/** The minimum and maximum pause before a retry, in milliseconds. */
const PAUSE_MS = { min: 500, max: 15_000 };
/** The number of attempts of a read call if AWS fails. */
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
 * Calls the control plane of API Gateway.
 *
 * A call is retried only if it certainly changed nothing: it was throttled, or it only reads. After
 * another failure, the caller must read the state before it retries. The retries of the SDK are
 * disabled, because a repeated `CreateApi` creates two APIs.
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

  /** Waits for a time in milliseconds. @throws ProvisioningError if the run is interrupted */
  async wait(ms: number): Promise<void> {
    this.checkGoingOn();
    const { signal, wait = (ms: number) => sleep(ms, undefined, signal && { signal }) } = this.#options;
    await wait(ms).catch((error) => {
      this.checkGoingOn();
      throw error;
    });
  }

  /** @throws ProvisioningError if the run is interrupted */
  checkGoingOn(): void {
    if (this.#options.signal?.aborted !== true) return;
    throw new ProvisioningError(
      "The run was interrupted. Its completed steps remain. Run the command again to continue from there.",
    );
  }

  /**
   * Sends a command that only reads.
   *
   * @throws ProvisioningError if AWS rejects it or does not answer
   */
  read<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: GatewayCommand<Input, Output>,
  ): Promise<Output> {
    return this.#call(nameOf(command), () => this.#gateways.send(command), READ_TRIES);
  }

  /**
   * Sends a command that changes something.
   *
   * @throws ProvisioningError if AWS rejects it or does not answer
   */
  write<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: GatewayCommand<Input, Output>,
  ): Promise<Output> {
    return this.#call(nameOf(command), () => this.#gateways.send(command), 1);
  }

  /** Reads all pages of a list. */
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

  /** Returns the client for the policies of functions, which is created on first use. */
  async functions(): Promise<FunctionPolicies> {
    this.#functions ??= FunctionPolicies.open(this.#clientOptions(), (name, isRead, send) =>
      this.#call(name, send, isRead ? READ_TRIES : 1),
    );
    return this.#functions;
  }

  async #call<Output>(operation: string, send: () => Promise<Output>, tries: number): Promise<Output> {
    let throttledMs = 0;
    for (let tried = 1, pause = PAUSE_MS.min; ; pause = Math.min(pause * 2, PAUSE_MS.max)) {
      try {
        return await send();
      } catch (error) {
        const failure = failureOf(operation, this.region, error);
        const isThrottled = failure.isThrottled && throttledMs < THROTTLED_FOR_MS;
        if (!isThrottled && (tried === tries || !failure.isTransient)) throw failure;
        if (!isThrottled) tried++;
        // At least half of the pause, because some operations are allowed only every five seconds.
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
        // Without it, the SDK only logs a warning.
        throwOnRequestTimeout: true,
      },
      ...(endpoint === undefined ? {} : { endpoint }),
    };
  }

  /** Closes the connections to AWS. */
  async close(): Promise<void> {
    this.#gateways.destroy();
    (await this.#functions?.catch(() => undefined))?.close();
  }
}

function nameOf(command: object): string {
  return command.constructor.name.replace(/Command$/, "");
}

/** What to do about an error, by the name that AWS gives it. */
const HINTS: Readonly<Record<string, string>> = {
  CredentialsProviderError:
    "No credentials were found. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
  AccessDeniedException:
    "Add the missing permission to the role. `sallyport gateway policy` prints the policy that it needs. Print the policy again after the first apply, and with --former for resources that the definition no longer contains.",
  UnrecognizedClientException: "AWS does not know these credentials. Use other credentials.",
  InvalidSignatureException: "Check the clock of this machine and the secret access key.",
  ExpiredTokenException: "Sign in to AWS again.",
};
const NOT_ANSWERED_HINT =
  "Check the network and the AWS settings of this machine, and run the command again.";
const REJECTED_HINT = "Fix the cause in the message of AWS, and run the command again.";

/** Removes secrets, because a message of AWS can repeat the rejected value. */
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
  const hint = HINTS[name] ?? (status === undefined ? NOT_ANSWERED_HINT : REJECTED_HINT);
  const outcome = status === undefined ? "was not answered" : `was answered ${status}`;
  return new ProvisioningError(
    `${operation} in ${region} ${outcome}: ${name}: ${withoutSecrets(message).replace(/\.$/, "")}. ${hint}`,
    // Without the error as its cause, because its message can contain a secret.
    { awsError: name, awsStatus: status },
  );
}
