/**
 * Returns the WebSocket URL of the gateway with the host that the page was loaded from. The gateway
 * itself can have the host `0.0.0.0`, which no client can use.
 *
 * @param host name and port of the page, such as "localhost:3001"
 */
export function urlOnHost(url: string, host: string): string {
  return url.replace(/^(wss?:\/\/)[^/]+/, (_, scheme: string) => scheme + host);
}
