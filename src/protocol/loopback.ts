/**
 * Returns whether browsers resolve a host name to the local machine: `localhost`, `*.localhost`,
 * 127.0.0.0/8 and `[::1]`.
 */
export function isLoopbackName(hostname: string): boolean {
  return /^(?:(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i.test(hostname);
}

/** Returns the URL of an Origin header with a local host, or `undefined` for any other Origin. */
export function loopbackOrigin(origin: string | undefined): URL | undefined {
  if (origin === undefined || !/^https?:\/\//.test(origin) || !URL.canParse(origin)) return undefined;
  const url = new URL(origin);
  return isLoopbackName(url.hostname) ? url : undefined;
}
