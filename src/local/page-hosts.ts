import type { IncomingMessage } from "node:http";
import { isLoopbackName, loopbackOrigin } from "../protocol/loopback.ts";

/** Most pairs of names that are reported. A script that connects from many names must not fill the console. */
const MAX_REPORTS = 10;

/**
 * Reports a `$connect` that was denied while page and socket have different names of this machine, such as 127.0.0.1 and localhost: once for
 * each pair. Browsers send no cookies from one to the other, and nothing in the browser shows that.
 */
export class PageHosts {
  readonly #reported = new Set<string>();

  /** @param status the status that the upgrade is answered with */
  denied({ headers: { origin, host = "" } }: IncomingMessage, status: number): void {
    if (status !== 401 && status !== 403) return;
    const page = loopbackOrigin(origin);
    const socket = URL.canParse(`http://${host}`) ? new URL(`http://${host}`) : undefined;
    if (!page || !socket || !isLoopbackName(socket.hostname) || page.hostname === socket.hostname) return;
    const pair = `${page.origin} ${socket.host}`;
    if (this.#reported.has(pair) || this.#reported.size >= MAX_REPORTS) return;
    this.#reported.add(pair);
    const port = (url: URL) => (url.port === "" ? "" : `:${url.port}`);
    console.warn(
      `sallyport local gateway: $connect was answered ${status}. The page is on ${page.hostname} and the socket on ${socket.hostname}, ` +
        "so the browser does not send the page's cookies. " +
        `Open the page at ${page.protocol}//${socket.hostname}${port(page)}, or connect to ${page.hostname}${port(socket)}. ` +
        `The option origins of the app must contain the page's origin, now ${page.origin}.`,
    );
  }
}
