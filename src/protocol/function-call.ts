/**
 * A handler of a Lambda function. It returns its result or a promise of it, or calls the callback.
 */
export type LambdaFunction = (
  event: LambdaEvent,
  context: LambdaContext,
  callback: LambdaCallback,
) => unknown;

/** The event of a WebSocket API, with the fields that AWS sends today. */
// biome-ignore lint/suspicious/noExplicitAny: a handler can declare any type for its event
type LambdaEvent = any;

interface LambdaContext {
  readonly functionName: string;
  readonly awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

type LambdaCallback = (error?: unknown, result?: unknown) => void;

/** The outcome of a call. */
type FunctionOutcome =
  /** The result after a conversion to JSON, or null if the function returned nothing. */
  | { readonly kind: "returned"; readonly result: unknown }
  | { readonly kind: "failed"; readonly error: unknown }
  | { readonly kind: "timed out" };

/**
 * Calls a function in this process as Lambda would invoke it. It never rejects, and a result after
 * the timeout is ignored.
 */
export async function callFunction(
  handler: LambdaFunction,
  event: object,
  { requestId, timeoutMs }: { readonly requestId: string; readonly timeoutMs: number },
): Promise<FunctionOutcome> {
  const deadline = performance.now() + timeoutMs;
  const context = {
    functionName: "local",
    awsRequestId: requestId,
    getRemainingTimeInMillis: () => Math.max(0, Math.ceil(deadline - performance.now())),
  };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<FunctionOutcome>((resolve) => {
    timer = setTimeout(() => resolve({ kind: "timed out" }), timeoutMs);
    timer.unref();
  });
  // A copy, as for Lambda, so that a change of the event does not affect another function.
  const called = resultOf(handler, structuredClone(event), context)
    .then((result): FunctionOutcome => ({ kind: "returned", result: asJson(result) }))
    .catch((error): FunctionOutcome => ({ kind: "failed", error }));
  try {
    return await Promise.race([called, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Converts a result to JSON and back, as Lambda does. */
function asJson(result: unknown): unknown {
  return JSON.parse(JSON.stringify(result) ?? "null");
}

/** Returns the result of a function, from its callback if it accepts one and returns undefined. */
function resultOf(handler: LambdaFunction, event: object, context: LambdaContext): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const callback: LambdaCallback = (error, result) => {
      if (error === undefined || error === null) resolve(result);
      else reject(error);
    };
    const returned = handler(event, context, callback);
    if (returned !== undefined || handler.length < 3) resolve(returned);
  });
}
