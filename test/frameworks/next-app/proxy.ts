/** Sends whoever is not signed in to the login. */
export function proxy(request: Request): Response | undefined {
  const isSignedIn = /(?:^|;\s*)login=/.test(request.headers.get("cookie") ?? "");
  return isSignedIn ? undefined : Response.redirect(new URL("/login", request.url));
}

// The gateway has no login, and the token endpoint says itself who has none.
export const config = { matcher: "/((?!ws/|api/ws-token|own|login).*)" };
