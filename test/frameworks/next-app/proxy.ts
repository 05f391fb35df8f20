/** Redirects users who are not signed in to the login. */
export function proxy(request: Request): Response | undefined {
  const isSignedIn = /(?:^|;\s*)login=/.test(request.headers.get("cookie") ?? "");
  return isSignedIn ? undefined : Response.redirect(new URL("/login", request.url));
}

// The gateway has no session, and the token endpoint rejects anonymous users itself.
export const config = { matcher: "/((?!ws/|api/ws-token|own|login).*)" };
