import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { Throttling } from "./apis.ts";
import type { Clock } from "./clock.ts";
import type { Connection } from "./connections.ts";
import type { AllowedHosts } from "./hosts.ts";
import { ID_SHAPE, newId, newTraceId } from "./ids.ts";
import { judgeSignature, type SigningCredentials } from "./signature.ts";
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

interface Answer {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
}

/**
 * Answers `/{stage}/@connections/{id}`: POST sends, GET describes, DELETE closes.
 *
 * The stage is part of the path, but for a domain of one's own; a double slash or any other path is 403. What
 * AWS says in headers and bodies is repeated exactly, because the SDK reads error names from `x-amzn-errortype`.
 *
 * Source: AWS developer guide, "Use @connections commands"; the SDK's service model.
 */
export function managementApi(
  settings: ManagementSettings,
): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const { managementThrottling, account, clock, credentials } = settings;
  const bucket = managementThrottling && new TokenBucket(managementThrottling, clock);
  return (incoming, outgoing) => {
    // A caller that hangs up in the middle of its request is no error of ours.
    incoming.on("error", () => outgoing.destroy());
    readUpTo(MAX_MESSAGE_BYTES, incoming, (data) => {
      const judge = (): Answer | undefined => {
        const refusal = credentials && judgeSignature(incoming, data, credentials);
        if (refusal !== undefined) return denied(refusal);
        if (takeEach([bucket, account.requests])) return undefined;
        return nothing(429, "LimitExceededException");
      };
      const { status, headers, body } = settings.allowedHosts.allows(incoming)
        ? answerTo(incoming, data, settings.stages, judge)
        : FORBIDDEN;
      outgoing.writeHead(status, {
        "x-amzn-requestid": randomUUID(),
        "x-amz-apigw-id": newId(),
        "x-amzn-trace-id": newTraceId(),
        ...headers,
      });
      outgoing.end(body);
    });
  };
}

/**
 * @param data undefined when it was over 128 KB
 * @param judge whether the caller may call at all, and now; asked of what is a call
 */
function answerTo(
  { method, url = "", headers: { host, origin } }: IncomingMessage,
  data: Buffer | undefined,
  stages: Stages,
  judge: () => Answer | undefined,
): Answer {
  const found = stages.at(host, splitUrl(url).path);
  if (found?.rest === "" && method === "GET") return json(426, { message: "Upgrade Required" });
  const [, text] = /^\/(?:@|%40)connections\/([^/]+)$/.exec(found?.rest ?? "") ?? [];
  if (!found || text === undefined) return FORBIDDEN;
  // A page sends an Origin, and an SDK does not. A page could send a "simple" request of type text/plain without being asked first.
  if (origin !== undefined) return FORBIDDEN;
  const refusal = judge();
  if (refusal) return refusal;
  const id = decoded(text);
  if (!ID_SHAPE.test(id)) return badRequest(`Invalid connectionId: ${id}`);
  const connection = found.stage.connections.find(id);
  switch (method) {
    case "POST":
      return post(connection, data);
    case "GET":
      // A connection that is closing is gone, like one that never was.
      return connection?.isOpen ? jsonText(200, description(connection)) : GONE;
    case "DELETE":
      if (!connection?.isOpen) return GONE;
      connection.end({ code: 1000, reason: "Connection Closed Normally" });
      return { status: 204 };
    default:
      return FORBIDDEN;
  }
}

function post(connection: Connection | undefined, data: Buffer | undefined): Answer {
  if (!data) {
    const message = `Message too long: at most ${MAX_MESSAGE_BYTES} bytes`;
    return json(413, { message }, "PayloadTooLargeException");
  }
  if (!isUtf8(data)) return badRequest("The data is not valid UTF-8");
  const result = connection?.send(data) ?? "gone";
  if (result === "busy") return nothing(429, "LimitExceededException");
  return result === "sent" ? nothing(200) : GONE;
}

const JSON_TYPE = { "content-type": "application/json" };
const GONE = nothing(410, "GoneException");
const FORBIDDEN = json(403, { message: "Forbidden" }, "ForbiddenException");

function nothing(status: number, errorType?: string): Answer {
  return { status, headers: { ...JSON_TYPE, "content-length": "0", ...typed(errorType) } };
}

function json(status: number, body: object, errorType?: string): Answer {
  return jsonText(status, JSON.stringify(body), errorType);
}

function jsonText(status: number, body: string, errorType?: string): Answer {
  const length = { "content-length": Buffer.byteLength(body) };
  return { status, headers: { ...JSON_TYPE, ...length, ...typed(errorType) }, body };
}

/** Whether the key begins with a capital where IAM denies is not established: nobody should read it. */
function denied(message: string): Answer {
  return json(403, { message }, "AccessDeniedException");
}

function typed(errorType: string | undefined): OutgoingHttpHeaders {
  return errorType === undefined ? {} : { "x-amzn-errortype": errorType };
}

function badRequest(message: string): Answer {
  return json(400, { message }, "BadRequestException");
}

/** A body that is too large is read to its end all the same, so that the connection stays in step. */
function readUpTo(
  maxBytes: number,
  incoming: IncomingMessage,
  done: (body: Buffer | undefined) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  incoming.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
  });
  incoming.on("end", () => done(bytes <= maxBytes ? Buffer.concat(chunks) : undefined));
}

/** AWS's own layout, with a space on both sides of each colon. */
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
