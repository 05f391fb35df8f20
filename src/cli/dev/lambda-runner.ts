/**
 * Serves a Lambda function of a file over HTTP, as the AWS Lambda Runtime Interface Emulator does:
 * `node lambda-runner.js FILE`, with the port in SALLYPORT_INVOKE_PORT. `sallyport dev --lambda`
 * runs it, and again when a file of the function changes.
 *
 * An event contains no secret, so each request must contain the key in SALLYPORT_INVOKE_KEY. Without
 * it, web pages and other users of this machine could send events.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import { callFunction, type LambdaFunction } from "../../protocol/function-call.ts";
import { importModule } from "../import-module.ts";
import { oneLine } from "../terminal.ts";
import { INVOKE_KEY_HEADER } from "./lambda-function.ts";

/** Longest time of an invocation, in milliseconds. API Gateway waits 29 seconds. */
const TIMEOUT_MS = 29_000;
const TIMED_OUT = `The function ran longer than ${TIMEOUT_MS} ms. API Gateway waits no longer. Return earlier.`;

async function handlerOf(file: string): Promise<LambdaFunction> {
  const { handler } = await importModule(file);
  if (typeof handler === "function") return handler as LambdaFunction;
  throw new Error(`${file} exports no function "handler". Add: export const handler = …`);
}

/** Returns the status and the document of an invocation. */
async function invoke(handler: LambdaFunction, request: IncomingMessage): Promise<[number, unknown]> {
  const requestId = String(request.headers["lambda-runtime-aws-request-id"] ?? "local");
  const event = JSON.parse(await text(request)) as object;
  const outcome = await callFunction(handler, event, { requestId, timeoutMs: TIMEOUT_MS });
  if (outcome.kind === "returned") return [200, outcome.result];
  const error = outcome.kind === "failed" ? outcome.error : new Error(TIMED_OUT);
  console.error(error);
  return [502, { errorMessage: oneLine(error) }];
}

/** Returns whether a request contains the key. */
function isAllowed({ headers }: IncomingMessage): boolean {
  const [expected, actual] = [
    process.env.SALLYPORT_INVOKE_KEY ?? "",
    String(headers[INVOKE_KEY_HEADER] ?? ""),
  ].map((text) => createHash("sha256").update(text).digest()) as [Buffer, Buffer];
  return Boolean(process.env.SALLYPORT_INVOKE_KEY) && timingSafeEqual(expected, actual);
}

const [file = ""] = process.argv.slice(2);
try {
  const handler = await handlerOf(resolve(file));
  createServer((request, response) => {
    if (!isAllowed(request)) return void response.writeHead(403).end();
    invoke(handler, request)
      .catch((error: unknown): [number, unknown] => [400, { errorMessage: oneLine(error) }])
      .then(([status, document]) => {
        response.writeHead(status, { "content-type": "application/json" });
        response.end(JSON.stringify(document ?? null));
      });
  }).listen(Number(process.env.SALLYPORT_INVOKE_PORT), "127.0.0.1");
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
