import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { Throttling } from "./apis.ts";
import type { Clock } from "./clock.ts";
import type { Connection } from "./connections.ts";
import type { FaultSwitches, PostFault } from "./faults.ts";
import type { AllowedHosts } from "./hosts.ts";
import { ID_SHAPE, newId, newTraceId } from "./ids.ts";
import type { Recorder } from "./inspector/recorder.ts";
import { readUpTo } from "./read-body.ts";
import { checkSignature, type SigningCredentials } from "./signature.ts";
import type { Stages } from "./stages.ts";
import { type Account, TokenBucket, takeEach } from "./throttling.ts";
import { decoded, splitUrl } from "./url.ts";

interface ManagementSettings {
  readonly stages: Stages;
  readonly allowedHosts: AllowedHosts;
  readonly managementThrottling: Throttling | undefined;
  readonly account: Account;
  readonly clock: Clock;
  readonly credentials: SigningCredentials | undefined;
}

/** Receives what happened in a call. */
interface CallReports {
  readonly recorder: Recorder | undefined;
  /** Reports an error of a function of the faults. It must not throw. */
  report(error: unknown, where: string): void;
}

interface Answer {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
  /** The simulated fault that caused the answer. */
  readonly fault?: PostFault | undefined;
}

/**
 * Returns a handler for `/{stage}/@connections/{id}`: POST sends, GET describes, DELETE closes.
 *
 * The path of a custom domain contains no stage. A double slash or another path is answered with
 * 403. Headers and bodies are exactly those of AWS, because the SDK reads error names from
 * `x-amzn-errortype`.
 *
 * Source: AWS developer guide, "Use @connections commands", and the service model of the SDK.
 */
export function managementApi(
  settings: ManagementSettings,
  faults: FaultSwitches,
  { recorder, report }: CallReports,
): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const { managementThrottling, account, clock, credentials } = settings;
  const bucket = managementThrottling && new TokenBucket(managementThrottling, clock);
  return (incoming, outgoing) => {
    // A caller can close the connection during its request, which is not an error of the gateway.
    incoming.on("error", () => outgoing.destroy());
    const startedAt = performance.now();
    const at = clock.now();
    readUpTo(MAX_MESSAGE_BYTES, incoming, (data) => {
      const authorize = (): Answer | undefined => {
        const problem = credentials && checkSignature(incoming, data, credentials);
        if (problem !== undefined) return accessDenied(problem);
        if (takeEach([bucket, account.requests])) return undefined;
        return withoutBody(429, "LimitExceededException");
      };
      const faultOf = (id: string): PostFault | "error" | undefined => {
        try {
          return faults.postFaultOf(id);
        } catch (error) {
          report(error, "POST @connections");
          return "error";
        }
      };
      const { status, headers, body, fault } = settings.allowedHosts.allows(incoming)
        ? answerTo(incoming, data, settings.stages, faultOf, authorize)
        : FORBIDDEN;
      const sent = {
        "x-amzn-requestid": randomUUID(),
        "x-amz-apigw-id": newId(),
        "x-amzn-trace-id": newTraceId(),
        ...headers,
      };
      outgoing.writeHead(status, sent);
      outgoing.end(body);
      const tookMs = performance.now() - startedAt;
      recorder?.addManagementCall({
        ...{ request: incoming, data, status, headers: sent, body, fault, at, tookMs },
        stage: settings.stages.at(incoming.headers.host, splitUrl(incoming.url ?? "").path)?.stage,
      });
    });
  };
}

/**
 * Returns the answer to a request.
 *
 * @param data the body, or undefined if it was larger than 128 KB
 * @param faultOf returns the simulated fault of a post to a connection
 * @param authorize returns the answer to a call that is denied or throttled, otherwise undefined
 */
function answerTo(
  { method, url = "", headers: { host, origin } }: IncomingMessage,
  data: Buffer | undefined,
  stages: Stages,
  faultOf: (connectionId: string) => PostFault | "error" | undefined,
  authorize: () => Answer | undefined,
): Answer {
  const found = stages.at(host, splitUrl(url).path);
  if (found?.rest === "" && method === "GET") return json(426, { message: "Upgrade Required" });
  const [, text] = /^\/(?:@|%40)connections\/([^/]+)$/.exec(found?.rest ?? "") ?? [];
  if (!found || text === undefined) return FORBIDDEN;
  // A web page sends an Origin, and an SDK does not. A page could send text/plain without a
  // preflight.
  if (origin !== undefined) return FORBIDDEN;
  const rejection = authorize();
  if (rejection) return rejection;
  const id = decoded(text);
  if (!ID_SHAPE.test(id)) return badRequest(`Invalid connectionId: ${id}`);
  const connection = found.stage.connections.find(id);
  switch (method) {
    case "POST":
      return post(connection, data, faultOf(id));
    case "GET":
      // A connection that is closing is answered like one that never existed.
      return connection?.isOpen ? jsonText(200, description(connection)) : GONE;
    case "DELETE":
      if (!connection?.isOpen) return GONE;
      connection.end({ code: 1000, reason: "Connection Closed Normally" });
      return { status: 204 };
    default:
      return FORBIDDEN;
  }
}

function post(
  connection: Connection | undefined,
  data: Buffer | undefined,
  fault: PostFault | "error" | undefined,
): Answer {
  if (!data) {
    const message = `Message too long: at most ${MAX_MESSAGE_BYTES} bytes`;
    return json(413, { message }, "PayloadTooLargeException");
  }
  if (!isUtf8(data)) return badRequest("The data is not valid UTF-8");
  if (fault === "gone") return { ...GONE, fault };
  if (fault === "limitExceeded") return { ...withoutBody(429, "LimitExceededException"), fault };
  if (fault === "error") return INTERNAL_ERROR;
  const result = connection?.send(data) ?? "gone";
  if (result === "busy") return withoutBody(429, "LimitExceededException");
  return result === "sent" ? withoutBody(200) : GONE;
}

const JSON_TYPE = { "content-type": "application/json" };
const GONE = withoutBody(410, "GoneException");
const INTERNAL_ERROR = json(500, { message: "Internal server error" }, "InternalServerErrorException");
const FORBIDDEN = json(403, { message: "Forbidden" }, "ForbiddenException");

function withoutBody(status: number, errorType?: string): Answer {
  return { status, headers: { ...JSON_TYPE, "content-length": "0", ...errorTypeHeader(errorType) } };
}

function json(status: number, body: object, errorType?: string): Answer {
  return jsonText(status, JSON.stringify(body), errorType);
}

function jsonText(status: number, body: string, errorType?: string): Answer {
  const length = { "content-length": Buffer.byteLength(body) };
  return { status, headers: { ...JSON_TYPE, ...length, ...errorTypeHeader(errorType) }, body };
}

/**
 * Returns the answer to a denied call. The case of the key at AWS is not known, so do not read it.
 */
function accessDenied(message: string): Answer {
  return json(403, { message }, "AccessDeniedException");
}

function errorTypeHeader(errorType: string | undefined): OutgoingHttpHeaders {
  return errorType === undefined ? {} : { "x-amzn-errortype": errorType };
}

function badRequest(message: string): Answer {
  return json(400, { message }, "BadRequestException");
}

/** Returns the description in the layout of AWS, with a space on both sides of each colon. */
function description(connection: Connection): string {
  return `{
  "identity" : {
    "sourceIp" : ${JSON.stringify(connection.sourceIp)},
    "userAgent" : ${JSON.stringify(connection.userAgent ?? null)}
  },
  "connectedAt" : "${new Date(connection.connectedAt).toISOString()}",
  "lastActiveAt" : "${new Date(connection.lastActiveAt).toISOString()}"
}`;
}
