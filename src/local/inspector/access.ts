import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { isLoopbackAddress, isLoopbackHost } from "../hosts.ts";

/**
 * The headers of every response of the inspector.
 *
 * Mantine adds inline styles, so these are allowed. Inline scripts are not.
 */
export const SECURITY_HEADERS: OutgoingHttpHeaders = {
  "cache-control": "no-store",
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  // With "no-referrer", some browsers send the Origin "null".
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

/** The headers by which a proxy or a tunnel names the client that it serves. */
const FORWARDING_HEADERS = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/**
 * Returns whether a request was sent by a program on this machine, to a loopback name or address.
 *
 * A program on another machine can set any header, so the address of the socket is checked too. A
 * tunnel connects from this machine, and adds a forwarding header or keeps the public host name.
 */
export function isLocalRequest({ headers, socket }: IncomingMessage): boolean {
  if (!isLoopbackAddress(socket.remoteAddress) || !isLoopbackHost(headers.host)) return false;
  return FORWARDING_HEADERS.every((name) => headers[name] === undefined);
}

/**
 * Returns the status with which a call of the inspector's API is rejected, or undefined if the page
 * of the inspector sent it. Call {@link isLocalRequest} before.
 *
 * Browsers set Sec-Fetch-Site and Origin, and a script of another site cannot change them. A request
 * needs at least one of them. The content type prevents requests without a preflight. This check
 * stops web pages only, because a program can set any header.
 */
export function checkAccess({ method, headers, socket }: IncomingMessage): 403 | 405 | 415 | undefined {
  const { host, origin, "sec-fetch-site": site } = headers;
  const ownOrigin = `${"encrypted" in socket ? "https" : "http"}://${host?.toLowerCase()}`;
  if (site === undefined && origin === undefined) return 403;
  if (site !== undefined && site !== "same-origin") return 403;
  if (origin !== undefined && origin.toLowerCase() !== ownOrigin) return 403;
  if (method !== "POST") return 405;
  return /^application\/json(?:\s*;|$)/i.test(headers["content-type"] ?? "") ? undefined : 415;
}
