import type { OriginDecision } from "../auth/origins.ts";

/** Returns the CORS headers with which a page of an allowed origin can read the token response. */
export function corsHeaders({ origin, isAllowed }: OriginDecision): Record<string, string> {
  if (origin === undefined || !isAllowed) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-credentials": "true",
    "access-control-allow-methods": "POST",
    // A single-page app sends its bearer token in the Authorization header.
    "access-control-allow-headers": "authorization, content-type, x-csrftoken",
    // Pages on other origins cannot read it by default.
    // Source: Fetch standard, "CORS-safelisted response-header name".
    "access-control-expose-headers": "retry-after",
    vary: "Origin",
  };
}
