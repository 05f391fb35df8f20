import type { ServerResponse } from "node:http";
import type { FaultState, FeedMessage, OpenConnections } from "./messages.ts";
import type { Recorder } from "./recorder.ts";

/** The interval at which changes are sent to the pages, in milliseconds. */
const FLUSH_MS = 150;

/**
 * The maximum number of pages. A browser opens six connections to a host, so one is left for other
 * requests of the pages.
 */
export const MAX_PAGES = 5;

/** The time in which a page can read the last message of its stream, in milliseconds. */
const LAST_MESSAGE_MS = 1_000;

/** The state that the pages show, apart from the events. */
interface FeedState {
  readonly url: string;
  connections(): OpenConnections;
  faults(): FaultState;
}

/**
 * Sends the events and the state of the gateway to the pages of the inspector, as server-sent
 * events.
 *
 * A page receives a snapshot, and then changes. There is no queue: a page that reads too slowly
 * misses changes, and receives a snapshot when it has read what was sent.
 */
export class Feed {
  readonly #recorder: Recorder;
  readonly #state: FeedState;
  readonly #pages = new Set<PageStream>();
  #changedIds = new Set<number>();
  #sentConnections = "";
  #sentFaults = "";
  #timer: NodeJS.Timeout | undefined;

  constructor(recorder: Recorder, state: FeedState) {
    this.#recorder = recorder;
    this.#state = state;
  }

  /** Starts the stream of a page. If there are too many, the oldest stream is closed. */
  add(response: ServerResponse): void {
    if (this.#pages.size === 0) this.#start();
    const page = new PageStream(response, () => this.#snapshot());
    this.#pages.add(page);
    response.once("close", () => this.#remove(page));
    if (this.#pages.size <= MAX_PAGES) return;
    const [oldest] = this.#pages;
    if (!oldest) return;
    this.#pages.delete(oldest);
    oldest.end(eventText({ type: "superseded" }));
  }

  /** Sends a snapshot to every page, because the events were cleared. */
  reset(): void {
    this.#changedIds.clear();
    for (const page of this.#pages) page.reset();
  }

  /** Ends the stream of every page. */
  close(): void {
    const pages = [...this.#pages];
    this.#pages.clear();
    this.#stop();
    for (const page of pages) page.end("");
  }

  #start(): void {
    this.#recorder.onChange = (id) => {
      this.#changedIds.add(id);
      // An event that is no longer kept is not sent, so the set stays as small as the recorder.
      if (this.#changedIds.size > 2 * MAX_CHANGES) this.#dropRemoved();
    };
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS);
    this.#timer.unref();
  }

  #remove(page: PageStream): void {
    this.#pages.delete(page);
    if (this.#pages.size === 0) this.#stop();
  }

  #stop(): void {
    this.#recorder.onChange = undefined;
    this.#changedIds.clear();
    clearInterval(this.#timer);
  }

  #flush(): void {
    const connections = this.#state.connections();
    const faults = this.#state.faults();
    const [connectionsText, faultsText] = [JSON.stringify(connections), JSON.stringify(faults)];
    const areConnectionsNew = connectionsText !== this.#sentConnections;
    const areFaultsNew = faultsText !== this.#sentFaults;
    if (this.#changedIds.size === 0 && !areConnectionsNew && !areFaultsNew) return;
    this.#sentConnections = connectionsText;
    this.#sentFaults = faultsText;
    const ids = [...this.#changedIds];
    this.#changedIds.clear();
    const text = eventText({
      type: "changes",
      events: ids.flatMap((id) => this.#recorder.findSummary(id) ?? []),
      oldestId: this.#recorder.oldestId,
      connections: areConnectionsNew ? connections : undefined,
      faults: areFaultsNew ? faults : undefined,
    });
    for (const page of this.#pages) page.send(text);
  }

  #dropRemoved(): void {
    const { oldestId } = this.#recorder;
    this.#changedIds = new Set([...this.#changedIds].filter((id) => id >= oldestId));
  }

  #snapshot(): string {
    return eventText({
      type: "snapshot",
      url: this.#state.url,
      events: this.#recorder.summaries,
      connections: this.#state.connections(),
      faults: this.#state.faults(),
    });
  }
}

/** The number of changed events above which those that are no longer kept are left out. */
const MAX_CHANGES = 500;

/** The stream of one page. */
class PageStream {
  readonly #response: ServerResponse;
  readonly #snapshot: () => string;
  /** Whether the page has not read the last write yet. */
  #isReading = false;
  #hasMissed = false;
  #isEnded = false;

  constructor(response: ServerResponse, snapshot: () => string) {
    this.#response = response;
    this.#snapshot = snapshot;
    response.on("drain", () => {
      this.#isReading = false;
      if (!this.#hasMissed || this.#isEnded) return;
      this.#hasMissed = false;
      this.#write(this.#snapshot());
    });
    this.#write(snapshot());
  }

  /** Sends changes. A page that is still reading misses them, and receives a snapshot later. */
  send(text: string): void {
    if (this.#isReading) this.#hasMissed = true;
    else this.#write(text);
  }

  /** Sends a snapshot. */
  reset(): void {
    if (this.#isReading) this.#hasMissed = true;
    else this.#write(this.#snapshot());
  }

  /** Ends the stream with a last text. The socket is destroyed if the page does not read it. */
  end(text: string): void {
    this.#isEnded = true;
    this.#response.end(text);
    setTimeout(() => this.#response.destroy(), LAST_MESSAGE_MS).unref();
  }

  #write(text: string): void {
    if (!this.#response.write(text)) this.#isReading = true;
  }
}

function eventText(message: FeedMessage): string {
  return `data: ${JSON.stringify(message)}\n\n`;
}
