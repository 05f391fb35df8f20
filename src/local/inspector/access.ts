import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";

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

/**
 * Returns the status with which a call of the inspector's API is rejected, or undefined if the page
 * of the inspector sent it. The Host header must be checked before.
 *
 * Browsers set Sec-Fetch-Site and Origin, and a script of another site cannot change them. A request
 * needs at least one of them. The content type prevents requests without a preflight.
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
