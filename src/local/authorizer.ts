import { ConfigurationError } from "../errors.ts";
import { callFunction, type LambdaFunction } from "../protocol/function-call.ts";
import type { Authorizer } from "./connections.ts";
import type { ConnectEvent } from "./events.ts";
import { authorizerEvent } from "./function-event.ts";
import { compileSource, type Source } from "./parameters.ts";
import { isAllowed } from "./policy.ts";
import { checkedTimeout, checkShape, type Shape } from "./shape.ts";

/** A Lambda authorizer that runs in this process, and receives the event of AWS Lambda. */
export interface FunctionAuthorizer {
  readonly type: "CUSTOM";
  /**
   * Returns `{ principalId, policyDocument, context }`, at most 8 KB.
   *
   * A client is denied with 403 if the policy does not allow `execute-api:Invoke` on the
   * `methodArn` of the event. The error "Unauthorized" rejects it with 401, and any other failure
   * with 500.
   *
   * Source: AWS developer guide, "Control access to WebSocket APIs with AWS Lambda REQUEST
   * authorizers".
   */
  readonly handler: LambdaFunction;
  /**
   * The values that a request must contain: `route.request.header.name`,
   * `route.request.querystring.name`, `context.name` or `stageVariables.name`. Without one of them,
   * the client is rejected with 401, and the function is not called. Default: none.
   */
  readonly identitySource?: readonly string[];
  /** The time limit of an answer, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
}

/** A compiled authorizer. */
export interface DeployedAuthorizer {
  readonly type: "CUSTOM";
  readonly handler: LambdaFunction;
  readonly identity: readonly Source[];
  readonly timeoutMs: number;
}

/** The parts of an authorizer's result that AWS uses. */
interface AuthorizerAnswer {
  readonly isAllowed: boolean;
  readonly principalId: string;
  readonly context: Readonly<Record<string, string>>;
  readonly usageIdentifierKey: string | undefined;
}

/** The decision of an authorizer. */
type AuthorizerResult =
  | {
      readonly kind: "admitted";
      readonly authorizer: Authorizer;
      /** The API key of the client in the result. */
      readonly usageIdentifierKey: string | undefined;
    }
  | { readonly kind: "rejected"; readonly status: 401 | 403 | 500; readonly error?: unknown };

/** The maximum size of a result, in bytes of JSON. Source: AWS developer guide, quotas. */
const MAX_RESULT_BYTES = 8 * 1024;

const AUTHORIZER = {
  type: "text",
  handler: "function",
  identitySource: "list of texts",
  timeoutMs: "number",
} as const satisfies Shape<FunctionAuthorizer>;

const IDENTITY_SOURCE = /^(route\.request\.(header|querystring)|context|stageVariables)\.(?!authorizer\.)/;

/** Compiles an authorizer. @throws ConfigurationError for one that AWS would reject */
export function compileAuthorizer(where: string, authorizer: FunctionAuthorizer): DeployedAuthorizer {
  checkShape(`${where}: authorization`, authorizer, AUTHORIZER);
  const { handler, identitySource = [] } = authorizer;
  if (typeof handler !== "function")
    throw new ConfigurationError(
      `${where}: handler must be a function that accepts an event. Pass a handler of a Lambda function.`,
    );
  const identity = identitySource.map((text) => {
    const source = IDENTITY_SOURCE.test(text) ? compileSource(text) : undefined;
    if (source) return source;
    throw new ConfigurationError(
      `${where}: ${JSON.stringify(text)} is not an identity source. Write "route.request.header.name", "route.request.querystring.name", "context.name" or "stageVariables.name".`,
    );
  });
  return { type: "CUSTOM", handler, identity, timeoutMs: checkedTimeout(where, authorizer.timeoutMs) };
}

/** Calls an authorizer for a connect. The promise never rejects. */
export async function callAuthorizer(
  event: ConnectEvent,
  { handler, identity, timeoutMs }: DeployedAuthorizer,
  methodArn: string,
): Promise<AuthorizerResult> {
  if (identity.some((source) => !source(event))) return { kind: "rejected", status: 401 };
  const startedAt = performance.now();
  const outcome = await callFunction(handler, authorizerEvent(event, methodArn), {
    requestId: event.requestId,
    timeoutMs,
  });
  const latencyMs = Math.round(performance.now() - startedAt);
  if (outcome.kind === "timed out") {
    return failed(
      new Error(`The authorizer did not answer within ${timeoutMs} ms. Check it, or set a longer timeoutMs.`),
    );
  }
  if (outcome.kind === "failed") {
    const isUnauthorized = messageOf(outcome.error) === "Unauthorized";
    return isUnauthorized ? { kind: "rejected", status: 401 } : failed(outcome.error);
  }
  const answer = answerOf(outcome.result, methodArn);
  if (typeof answer === "string") return failed(new Error(answer));
  if (!answer.isAllowed) return { kind: "rejected", status: 403 };
  const { principalId, context, usageIdentifierKey } = answer;
  return { kind: "admitted", authorizer: { principalId, latencyMs, context }, usageIdentifierKey };
}

function failed(error: unknown): AuthorizerResult {
  return { kind: "rejected", status: 500, error };
}

function messageOf(error: unknown): unknown {
  return error instanceof Error ? error.message : error;
}

/** Parses the result of an authorizer. @returns a message for a result that AWS would not accept */
function answerOf(result: unknown, methodArn: string): AuthorizerAnswer | string {
  const bytes = Buffer.byteLength(JSON.stringify(result));
  if (bytes > MAX_RESULT_BYTES) {
    return `The authorizer's result has ${bytes} bytes, but AWS accepts at most 8 KB. Return a smaller context.`;
  }
  const { principalId, policyDocument, context, usageIdentifierKey } = (result ?? {}) as Readonly<
    Record<string, unknown>
  >;
  if (typeof principalId !== "string") return "The authorizer's result has no principalId. Return a string.";
  const allowed = isAllowed(policyDocument, "execute-api:Invoke", methodArn);
  if (allowed === undefined)
    return "The authorizer's result has no policyDocument that can be evaluated. Return statements that contain only Effect, Action and Resource.";
  const texts = textsOf(context ?? {});
  if (!texts)
    return "The context of the authorizer's result contains other values than strings, numbers and booleans. Remove them.";
  return {
    isAllowed: allowed,
    principalId,
    context: texts,
    usageIdentifierKey: typeof usageIdentifierKey === "string" ? usageIdentifierKey : undefined,
  };
}

/** Converts a context to strings, without a prototype, because a mapping can contain any name. */
function textsOf(context: unknown): Readonly<Record<string, string>> | undefined {
  if (typeof context !== "object" || context === null || Array.isArray(context)) return undefined;
  const texts: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(context)) {
    if (!["string", "number", "boolean"].includes(typeof value)) return undefined;
    texts[name] = String(value);
  }
  return texts;
}
