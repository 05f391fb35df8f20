import type { IncomingMessage, ServerResponse } from "node:http";
import type { FaultSwitches } from "../faults.ts";
import { readUpTo } from "../read-body.ts";
import type { Stages } from "../stages.ts";
import { splitUrl } from "../url.ts";
import { checkAccess, isLocalRequest, SECURITY_HEADERS } from "./access.ts";
import { faultState, type Inspected, runCommand } from "./commands.ts";
import { Feed } from "./feed.ts";
import { openConnections } from "./open-connections.ts";
import { pageFileAt, readPageFile } from "./page-files.ts";
import type { Recorder } from "./recorder.ts";

/** The prefix of all paths but the page. The name of a stage cannot contain a dot. */
const PREFIX = "/.inspector/";

/** The maximum size of a request, in bytes. A message of 128 KB is longer as JSON. */
const MAX_REQUEST_BYTES = 1024 * 1024;

const NOT_BUILT = "The page of the inspector is not built. Run: npm run build\n";

/** Serves the page of the inspector, its event stream and its commands. */
export class Inspector {
  readonly #stages: Stages;
  readonly #inspected: Inspected;

  /** @param url the WebSocket URL of the gateway, which the page shows */
  constructor(stages: Stages, faults: FaultSwitches, recorder: Recorder, url: string) {
    this.#stages = stages;
    const feed = new Feed(recorder, {
      url,
      connections: () => openConnections(stages),
      faults: () => faultState(faults.current),
    });
    this.#inspected = { stages, faults, recorder, feed };
  }

  /**
   * Answers a request of the inspector.
   *
   * @returns false for any other request, which is then not changed. This includes every request
   *   from another machine, and every request to a custom domain or the endpoint of an API.
   */
  take(request: IncomingMessage, response: ServerResponse): boolean {
    const { path } = splitUrl(request.url ?? "");
    const isPage = path === "/" && request.method === "GET";
    if (!isPage && !path.startsWith(PREFIX)) return false;
    if (!isLocalRequest(request) || this.#stages.isGatewayHost(request.headers.host)) return false;
    request.on("error", () => response.destroy());
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value as string);
    const file = request.method === "GET" ? pageFileAt(path) : undefined;
    if (!file) this.#answerCommand(path.slice(PREFIX.length), request, response);
    else
      void readPageFile(file).then((content) => {
        response.setHeader("content-type", content ? file.type : "text/plain; charset=utf-8");
        response.writeHead(content ? 200 : 503).end(content ?? NOT_BUILT);
      });
    return true;
  }

  /** Ends the event streams. */
  close(): void {
    this.#inspected.feed.close();
  }

  #answerCommand(name: string, request: IncomingMessage, response: ServerResponse): void {
    const rejection = checkAccess(request);
    if (rejection !== undefined) {
      request.resume();
      answer(response, rejection, { message: REJECTIONS[rejection] });
      return;
    }
    readUpTo(MAX_REQUEST_BYTES, request, (data) => {
      if (!data) return answer(response, 413, { message: `At most ${MAX_REQUEST_BYTES} bytes are allowed.` });
      const input = parsed(data);
      if (!input) return answer(response, 400, { message: "The body must be a JSON object." });
      if (name === "events") {
        response.setHeader("content-type", "text/event-stream");
        response.writeHead(200);
        return this.#inspected.feed.add(response);
      }
      const { status, body } = runCommand(name, input, this.#inspected);
      answer(response, status, body);
    });
  }
}

const REJECTIONS = {
  403: "Only the page of the inspector can send this request. Open it at / of the gateway.",
  405: "Commands of the inspector are sent by POST.",
  415: "The content type must be application/json.",
};

function answer(response: ServerResponse, status: number, body: object): void {
  response.setHeader("content-type", "application/json");
  response.writeHead(status).end(JSON.stringify(body));
}

/** Parses a JSON object. @returns undefined for another text */
function parsed(data: Buffer): object | undefined {
  try {
    const value: unknown = JSON.parse(data.toString());
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
