import type { Decision } from "../audit/decision.ts";
import { printable } from "../printable.ts";
import { loopbackOrigin } from "../protocol/loopback.ts";

/** Most origins that are printed. In production without NODE_ENV, clients must not be able to fill the log. */
const MAX_ORIGINS = 10;

/**
 * Prints why a page on the developer's machine was denied, in one line for each origin and reason. Used in development if the app has no
 * `onDecision`: a page on 127.0.0.1 with a socket on localhost would fail without any message.
 */
export class LoopbackDenials {
  readonly #printed = new Set<string>();

  print({ verdict, reason, origin, event, message, reference }: Decision): void {
    if (verdict !== "refused" || (reason !== "origin" && reason !== "session")) return;
    const page = loopbackOrigin(origin);
    if (!page) return;
    const key = `${reason} ${page.origin}`;
    if (this.#printed.has(key) || this.#printed.size >= MAX_ORIGINS) return;
    this.#printed.add(key);
    const line = `sallyport: ${event} was denied. ${message} (reference ${reference})`;
    console.warn(printable(line));
  }
}
