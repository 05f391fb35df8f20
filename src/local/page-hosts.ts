import type { IncomingMessage } from "node:http";
import { isLoopbackName, loopbackOrigin } from "../protocol/loopback.ts";

/** The maximum number of reports, so that a script with many names cannot fill the console. */
const MAX_REPORTS = 10;

/**
 * Reports a `$connect` that was denied while the page and the socket use different names of this
 * machine, such as 127.0.0.1 and localhost. Each pair is reported once.
 *
 * A browser does not send the cookies of one name to the other, and does not show that.
 */
export class PageHosts {
  readonly #reported = new Set<string>();

  /**
   * Call it for each upgrade that is not accepted.
   *
   * @param status the status of the response
   */
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
