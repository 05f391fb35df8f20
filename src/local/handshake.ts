import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { TOKEN } from "./http-headers.ts";
import { newId } from "./ids.ts";
import type { Outcome } from "./integration.ts";
import { isSuccess } from "./route-response.ts";

/**
 * The maximum length of a request URL, in characters. Source: AWS developer guide, "Amazon API
 * Gateway quotas".
 */
export const MAX_URL_CHARACTERS = 4096;

/**
 * The maximum size of the headers of a request, in bytes. AWS documents it for REST and HTTP APIs.
 * The limit of WebSocket APIs is not known.
 */
const MAX_HEADER_BYTES = 10_240;

/**
 * Checks an upgrade request before an integration is called.
 *
 * @param isStage whether its host and path are those of a stage
 * @returns the status to reject it with, or undefined if `$connect` can be called
 */
export function checkUpgrade(request: IncomingMessage, isStage: boolean): number | undefined {
  const url = request.url ?? "";
  if (url.length > MAX_URL_CHARACTERS) return 414;
  if (request.rawHeaders.reduce((bytes, text) => bytes + text.length, 0) > MAX_HEADER_BYTES) return 431;
  if (!isStage) return 403;
  const { headers } = request;
  if (headers.upgrade?.toLowerCase() !== "websocket") return 426;
  if (request.method !== "GET") return 400;
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers["sec-websocket-key"] ?? "")) return 400;
  if (headers["sec-websocket-version"] !== "13") return 400;
  const offered = headers["sec-websocket-protocol"];
  if (offered !== undefined && !hasDistinctTokens(offered)) return 400;
  return undefined;
}

/**
 * Returns the status to reject an upgrade with, or undefined if the outcome of `$connect` accepts
 * it.
 */
export function rejectionStatus(outcome: Outcome): number | undefined {
  if (outcome.kind === "timed out") return 504;
  if (outcome.kind === "failed") return 502;
  if (outcome.kind === "unreachable") return 500;
  return isSuccess(outcome.status) ? undefined : outcome.status;
}

/** Answers an upgrade request with a status instead of 101, and ends the socket. */
export function rejectUpgrade(socket: Duplex, status: number): void {
  if (socket.destroyed || socket.writableEnded) return;
  const body = status === 304 ? "" : JSON.stringify({ message: messageOf(status) });
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Rejected"}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
    `x-amzn-requestid: ${newId()}`,
    ...(ERROR_TYPES[status] ? [`x-amzn-errortype: ${ERROR_TYPES[status]}`] : []),
  ];
  socket.once("finish", () => socket.destroy());
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
}

const ERROR_TYPES: Readonly<Record<number, string>> = {
  400: "BadRequestException",
  401: "UnauthorizedException",
  403: "ForbiddenException",
  429: "LimitExceededException",
  500: "InternalServerErrorException",
  504: "EndpointTimeoutException",
};

function messageOf(status: number): string {
  if (status === 500) return "Internal server error";
  if (status === 504) return "Endpoint request timed out";
  return STATUS_CODES[status] ?? "Rejected";
}

/**
 * Checks the subprotocols here, because `ws` rejects an invalid list only after `$connect` was
 * called.
 */
function hasDistinctTokens(list: string): boolean {
  const tokens = list.split(",").map((token) => token.replace(/^[ \t]+|[ \t]+$/g, ""));
  return tokens.every((token) => TOKEN.test(token)) && new Set(tokens).size === tokens.length;
}
