/** A function as Lambda calls it: it returns its result, a promise of it, or calls back. */
export type LambdaFunction = (
  event: LambdaEvent,
  context: LambdaContext,
  callback: LambdaCallback,
) => unknown;

/** The event of a WebSocket API, with the fields that AWS sends today. */
// biome-ignore lint/suspicious/noExplicitAny: whatever type a handler has for its event, it takes this one
type LambdaEvent = any;

interface LambdaContext {
  readonly functionName: string;
  readonly awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

type LambdaCallback = (error?: unknown, result?: unknown) => void;

/** What came of a call. */
type FunctionOutcome =
  /** Read from its JSON; null where it gave nothing back. */
  | { readonly kind: "returned"; readonly result: unknown }
  | { readonly kind: "failed"; readonly error: unknown }
  | { readonly kind: "timed out" };

/** Calls a function in this process as Lambda would be invoked. Never rejects; what comes after the time-out is not heard. */
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
  // A copy, as what goes to Lambda is: nothing that a function changes is seen by another.
  const called = resultOf(handler, structuredClone(event), context)
    .then((result): FunctionOutcome => ({ kind: "returned", result: asJson(result) }))
    .catch((error): FunctionOutcome => ({ kind: "failed", error }));
  try {
    return await Promise.race([called, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What is left of a result on its way out of Lambda. */
function asJson(result: unknown): unknown {
  return JSON.parse(JSON.stringify(result) ?? "null");
}

/** Of a function that takes a callback and returns nothing, what it calls back with counts. */
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
