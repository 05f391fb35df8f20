import { ConfigurationError } from "../errors.ts";
import type { Authorizer } from "./connections.ts";
import type { ConnectEvent } from "./events.ts";
import { callFunction, type LambdaFunction } from "./function-call.ts";
import { authorizerEvent } from "./function-event.ts";
import { checkedTimeout } from "./integration-timeout.ts";
import { compileSource, type Source } from "./parameters.ts";
import { isAllowed } from "./policy.ts";
import { checkShape, type Shape } from "./shape.ts";

/** A function in this process that says who may connect, asked with the event that AWS Lambda would be invoked with. */
export interface FunctionAuthorizer {
  readonly type: "CUSTOM";
  /**
   * Gives `{ principalId, policyDocument, context }`, 8 KB at most. A policy that does not allow `execute-api:Invoke` on the event's `methodArn` refuses
   * with 403, the error "Unauthorized" with 401, and whatever else goes wrong with 500.
   *
   * Source: AWS developer guide, "Control access to WebSocket APIs with AWS Lambda REQUEST authorizers".
   */
  readonly handler: LambdaFunction;
  /**
   * What a client must have sent to be asked about at all, else it is refused with 401: `route.request.header.name`, `route.request.querystring.name`,
   * `context.name` or `stageVariables.name`. Default: nothing.
   */
  readonly identitySource?: readonly string[];
  /** Longest wait for an answer, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
}

/** An authorizer as it is served. */
export interface DeployedAuthorizer {
  readonly type: "CUSTOM";
  readonly handler: LambdaFunction;
  readonly identity: readonly Source[];
  readonly timeoutMs: number;
}

/** What an authorizer gave back, as far as AWS takes it. */
interface AuthorizerAnswer {
  readonly isAllowed: boolean;
  readonly principalId: string;
  readonly context: Readonly<Record<string, string>>;
  readonly usageIdentifierKey: string | undefined;
}

/** What an authorizer decided. */
type AuthorizerVerdict =
  | {
      readonly kind: "admitted";
      readonly authorizer: Authorizer;
      /** The API key that it says the client has. */
      readonly usageIdentifierKey: string | undefined;
    }
  | { readonly kind: "refused"; readonly status: 401 | 403 | 500; readonly error?: unknown };

/** Largest result, in bytes of JSON. Source: AWS developer guide, quotas. */
const MAX_RESULT_BYTES = 8 * 1024;

const AUTHORIZER = {
  type: "text",
  handler: "function",
  identitySource: "list of texts",
  timeoutMs: "number",
} as const satisfies Shape<FunctionAuthorizer>;

const IDENTITY_SOURCE = /^(route\.request\.(header|querystring)|context|stageVariables)\.(?!authorizer\.)/;

/** @throws ConfigurationError for what AWS would refuse */
export function compileAuthorizer(where: string, authorizer: FunctionAuthorizer): DeployedAuthorizer {
  checkShape(`${where}: authorization`, authorizer, AUTHORIZER);
  const { handler, identitySource = [] } = authorizer;
  if (typeof handler !== "function")
    throw new ConfigurationError(`${where}: handler is a function that takes an event, as Lambda's are.`);
  const identity = identitySource.map((text) => {
    const source = IDENTITY_SOURCE.test(text) ? compileSource(text) : undefined;
    if (source) return source;
    throw new ConfigurationError(
      `${where}: ${JSON.stringify(text)} is no identity source. Write "route.request.header.name", "route.request.querystring.name", "context.name" or "stageVariables.name".`,
    );
  });
  return { type: "CUSTOM", handler, identity, timeoutMs: checkedTimeout(where, authorizer.timeoutMs) };
}

/** Asks an authorizer whether a client may connect. Never rejects. */
export async function askAuthorizer(
  event: ConnectEvent,
  { handler, identity, timeoutMs }: DeployedAuthorizer,
  methodArn: string,
): Promise<AuthorizerVerdict> {
  if (identity.some((source) => !source(event))) return { kind: "refused", status: 401 };
  const startedAt = performance.now();
  const outcome = await callFunction(handler, authorizerEvent(event, methodArn), {
    requestId: event.requestId,
    timeoutMs,
  });
  const latencyMs = Math.round(performance.now() - startedAt);
  if (outcome.kind === "timed out") return failed(new Error(`No answer within ${timeoutMs} ms.`));
  if (outcome.kind === "failed") {
    const isUnauthorized = messageOf(outcome.error) === "Unauthorized";
    return isUnauthorized ? { kind: "refused", status: 401 } : failed(outcome.error);
  }
  const answer = answerOf(outcome.result, methodArn);
  if (typeof answer === "string") return failed(new Error(answer));
  if (!answer.isAllowed) return { kind: "refused", status: 403 };
  const { principalId, context, usageIdentifierKey } = answer;
  return { kind: "admitted", authorizer: { principalId, latencyMs, context }, usageIdentifierKey };
}

function failed(error: unknown): AuthorizerVerdict {
  return { kind: "refused", status: 500, error };
}

function messageOf(error: unknown): unknown {
  return error instanceof Error ? error.message : error;
}

/** @returns for a result that AWS would not take, what is wrong with it */
function answerOf(result: unknown, methodArn: string): AuthorizerAnswer | string {
  const bytes = Buffer.byteLength(JSON.stringify(result));
  if (bytes > MAX_RESULT_BYTES) return `The authorizer's result has ${bytes} bytes; AWS takes 8 KB.`;
  const { principalId, policyDocument, context, usageIdentifierKey } = (result ?? {}) as Readonly<
    Record<string, unknown>
  >;
  if (typeof principalId !== "string") return "The authorizer's result has no principalId.";
  const allowed = isAllowed(policyDocument, "execute-api:Invoke", methodArn);
  if (allowed === undefined)
    return "The authorizer's result has no policyDocument with statements of Effect, Action and Resource alone.";
  const texts = textsOf(context ?? {});
  if (!texts)
    return "The context of the authorizer's result has other values than texts, numbers and booleans.";
  return {
    isAllowed: allowed,
    principalId,
    context: texts,
    usageIdentifierKey: typeof usageIdentifierKey === "string" ? usageIdentifierKey : undefined,
  };
}

/** Nothing is inherited: a mapping may name any value. */
function textsOf(context: unknown): Readonly<Record<string, string>> | undefined {
  if (typeof context !== "object" || context === null || Array.isArray(context)) return undefined;
  const texts: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(context)) {
    if (!["string", "number", "boolean"].includes(typeof value)) return undefined;
    texts[name] = String(value);
  }
  return texts;
}
