import type { Decision } from "../../index.ts";
import type { HandledEvent } from "../../local/emulator.ts";
import type { Sallyport } from "../../sallyport.ts";
import { NewDecisions } from "../new-decisions.ts";
import { type Format, print } from "../report.ts";
import { oneLine, statusColor, type Terminal } from "../terminal.ts";
import { explainStored } from "../why.ts";
import { type DevEvent, devEvent, EventLines } from "./event-lines.ts";

/** Lines that can wait for the database. Events beyond are counted. */
const MAX_WAITING = 1000;
/** References of printed denials that are kept, so that each is printed once. */
const MAX_PRINTED = 10_000;

/** Prints events and denials in the order in which they happened. */
export class DevLog {
  readonly #sallyport: Sallyport;
  readonly #terminal: Terminal;
  readonly #format: Format;
  readonly #lines: EventLines;
  readonly #denials: NewDecisions;
  readonly #printed = new Set<string>();
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;
  #leftOut = 0;
  #lastReference: string | undefined;
  #lastError: string | undefined;

  constructor(sallyport: Sallyport, terminal: Terminal, format: Format) {
    this.#sallyport = sallyport;
    this.#terminal = terminal;
    this.#format = format;
    this.#lines = new EventLines(sallyport);
    this.#denials = new NewDecisions(sallyport, { verdict: "denied", limit: 1 });
  }

  /** Excludes the denials that were stored before. */
  async start(): Promise<void> {
    this.#denials.printed(await this.#denials.next());
  }

  /** Prints lines, or with `--json` one document. */
  print(json: { readonly type: string; readonly [field: string]: unknown }, lines: readonly string[]): void {
    print(this.#terminal, this.#format, { json, lines, color: statusColor });
  }

  /** Prints an event, or the denial that it caused. Returns immediately. */
  printEvent(handled: HandledEvent, view: string): void {
    const event = devEvent(handled, view);
    if (!event) return;
    if (this.#waiting >= MAX_WAITING) this.#leftOut++;
    else void this.#inOrder(() => this.#printEvent(event));
  }

  /** Prints an error once, until another one occurs. */
  printError(error: unknown, where: string): void {
    const line = `${where}: ${oneLine(error)}`;
    if (line !== this.#lastError) this.#terminal.complain(line);
    this.#lastError = line;
  }

  /** Prints the denials that were stored since the last call and belong to no event. */
  printDenials(): Promise<void> {
    return this.#inOrder(async () => {
      const found = await this.#denials.next();
      this.#denials.printed(found);
      for (const decision of found.decisions) await this.#printDenial(decision);
    });
  }

  /** Prints why the last denial was denied, rule by rule. */
  explainLast(): Promise<void> {
    return this.#inOrder(async () => {
      const reference = this.#lastReference;
      if (reference === undefined) return this.print({ type: "explanation" }, ["Nothing was denied yet."]);
      const { json, lines } = await explainStored(this.#sallyport, reference);
      this.print({ type: "explanation", ...(json as object) }, lines);
    });
  }

  async #printEvent(event: DevEvent): Promise<void> {
    const { reference } = event;
    const decision = reference === undefined ? undefined : await this.#sallyport.access.explain(reference);
    if (decision?.verdict === "denied") return this.#printDenial({ ...decision, reference: reference ?? "" });
    this.print({ type: "event", ...event }, [await this.#lines.ofEvent(event)]);
  }

  async #printDenial(decision: Decision): Promise<void> {
    const { reference } = decision;
    if (this.#printed.has(reference)) return;
    if (this.#printed.size >= MAX_PRINTED) this.#printed.clear();
    this.#printed.add(reference);
    this.#lastReference = reference;
    this.print({ type: "denial", ...decision }, [await this.#lines.ofDenial(decision)]);
  }

  #inOrder(work: () => Promise<void>): Promise<void> {
    this.#waiting++;
    this.#last = this.#last
      .then(work)
      .catch((error) => this.printError(error, "sallyport dev"))
      .finally(() => {
        this.#waiting--;
        if (this.#waiting === 0 && this.#leftOut > 0) {
          this.print({ type: "left-out", events: this.#leftOut }, [
            `${this.#leftOut} events are not printed, because the database was slow.`,
          ]);
          this.#leftOut = 0;
        }
      });
    return this.#last;
  }
}
