/** Returns true for a name that browsers resolve to the machine that they run on: `localhost`, `*.localhost`, 127.0.0.0/8 and `[::1]`. */
export function isLoopbackName(hostname: string): boolean {
  return /^(?:(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i.test(hostname);
}

/** Returns the URL of an Origin header if its page is on this machine, and undefined for any other Origin. */
export function loopbackOrigin(origin: string | undefined): URL | undefined {
  if (origin === undefined || !/^https?:\/\//.test(origin) || !URL.canParse(origin)) return undefined;
  const url = new URL(origin);
  return isLoopbackName(url.hostname) ? url : undefined;
}
