import type { IncomingMessage } from "node:http";
import { printable } from "../format-value.ts";
import type { Stage } from "./stages.ts";

/** The maximum number of reports, so that a script with many paths cannot fill the console. */
const MAX_REPORTS = 10;
/** Characters of a path that are printed. */
const MAX_PATH = 100;

/**
 * Reports a connect to a path that belongs to no stage. Each path is reported once.
 *
 * A browser does not show the status of a handshake.
 */
export class UnknownPaths {
  readonly #reported = new Set<string>();

  /** Call it for each upgrade to such a path. */
  rejected({ url = "", headers: { host }, socket }: IncomingMessage, stages: Iterable<Stage>): void {
    const [path = ""] = url.split("?");
    const shown = JSON.stringify(path.slice(0, MAX_PATH));
    if (this.#reported.has(shown) || this.#reported.size >= MAX_REPORTS) return;
    this.#reported.add(shown);
    const scheme = "encrypted" in socket ? "wss" : "ws";
    const urls = [...stages]
      .filter(({ isDeployed }) => isDeployed)
      .map(({ name }) => `${scheme}://${host}/${name}`);
    console.warn(
      printable(
        `sallyport local gateway: a connect to ${shown} was answered 403, because no stage has this path. ` +
          `Use the URL ${urls.join(" or ") || "of a stage, after its deployment"}.`,
      ),
    );
  }
}
