import type { Decision } from "../audit/decision.ts";
import { printable } from "../printable.ts";
import { loopbackOrigin } from "../protocol/loopback.ts";

/**
 * The maximum number of printed denials. Without NODE_ENV in production, clients could fill the
 * log.
 */
const MAX_ORIGINS = 10;

/**
 * Prints why a local page was denied, in one line for each origin and reason.
 *
 * It is used in development if the app has no `onDecision`. Otherwise, a page on 127.0.0.1 with a
 * WebSocket on localhost would fail without any message.
 */
export class LoopbackDenials {
  readonly #printed = new Set<string>();

  print({ verdict, reason, origin, event, message, reference }: Decision): void {
    if (verdict !== "denied" || (reason !== "origin" && reason !== "session")) return;
    const page = loopbackOrigin(origin);
    if (!page) return;
    const key = `${reason} ${page.origin}`;
    if (this.#printed.has(key) || this.#printed.size >= MAX_ORIGINS) return;
    this.#printed.add(key);
    const line = `sallyport: ${event} was denied. ${message} (reference ${reference})`;
    console.warn(printable(line));
  }
}
