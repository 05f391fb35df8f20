import { setTimeout as sleep } from "node:timers/promises";
import type { TcpProxy } from "../tcp-proxy.js";
import type { FailingEndpoint } from "./failing-endpoint.js";
import type { Failure } from "./failures.js";

/** One kind of fault. */
interface Fault {
  readonly name: string;
  readonly inject: () => void | Promise<void>;
  /** What it may cause. */
  readonly explains: RegExp;
  /** How long after its end it may still cause that, in milliseconds. */
  readonly forMs: number;
}

/** The least and the most time from the end of one fault to the next one, in milliseconds. */
const PAUSE_MS = { least: 8000, most: 16_000 };

/** Answers and errors while statements fail, or while messages wait for them until there are too many. */
const NO_DATABASE = /: (503|429)$|SALLYPORT_(STORAGE|COMMITTED)/;
/** Errors of calls to the Management API. */
const NO_GATEWAY = /SALLYPORT_(DELIVERY|QUEUE_FULL)|the connection \(status (429|500)\)|: 429$/;

/** Fails at random in one way after another, and knows which failures that explains. */
export class Faults {
  readonly #kinds: readonly Fault[];
  readonly #windows: { readonly fault: Fault; readonly from: number; until: number }[] = [];

  /** @param silence makes some clients stop reading for a number of milliseconds */
  constructor(database: TcpProxy, endpoint: FailingEndpoint, silence: (ms: number) => void) {
    const answering = (status: number, share: number) => async () => {
      endpoint.failure = { status, share };
      await sleep(5000);
      endpoint.failure = undefined;
    };
    this.#kinds = [
      {
        name: "database connections were reset",
        inject: () => database.cut(),
        explains: NO_DATABASE,
        forMs: 10_000,
      },
      {
        name: "database connections were lost without a word",
        inject: () => database.forget(),
        explains: NO_DATABASE,
        // Found after 4.5 s. A message that arrives just before then can wait for its turn for another 5 s.
        forMs: 15_000,
      },
      {
        name: "the database refused connections for 2 s",
        inject: async () => {
          await database.refuse();
          await sleep(2000);
          await database.listen();
        },
        explains: NO_DATABASE,
        forMs: 10_000,
      },
      {
        name: "the gateway answered half of the calls with 429 for 5 s",
        inject: answering(429, 0.5),
        explains: NO_GATEWAY,
        forMs: 10_000,
      },
      {
        name: "the gateway answered half of the calls with 500 for 5 s",
        inject: answering(500, 0.5),
        explains: NO_GATEWAY,
        forMs: 10_000,
      },
      {
        name: "clients stopped reading for 20 s",
        inject: () => silence(20_000),
        explains: NO_GATEWAY,
        forMs: 30_000,
      },
    ];
  }

  /** Causes faults, each kind as often as the others and in random order, until `performance.now()` has reached a moment. */
  async run(until: number): Promise<void> {
    for (let left: Fault[] = []; ; ) {
      const pause = PAUSE_MS.least + Math.random() * (PAUSE_MS.most - PAUSE_MS.least);
      if (performance.now() + pause > until) return sleep(Math.max(0, until - performance.now()));
      await sleep(pause);
      if (left.length === 0) left = [...this.#kinds];
      const [fault] = left.splice(Math.floor(Math.random() * left.length), 1) as [Fault];
      const window = { fault, from: Date.now(), until: Number.POSITIVE_INFINITY };
      this.#windows.push(window);
      await fault.inject();
      window.until = Date.now() + fault.forMs;
    }
  }

  /** Returns the failures that no fault explains. */
  unexplained(failures: readonly Failure[]): readonly Failure[] {
    return failures.filter(
      ({ at, what, delayMs }) =>
        !this.#windows.some(
          // Failures are counted by the second.
          ({ fault, from, until }) => at >= from - 1000 && at <= until + delayMs && fault.explains.test(what),
        ),
    );
  }

  /** Returns lines that say when each fault began. */
  timeline(): readonly string[] {
    return this.#windows.map(({ fault, from }) => `${new Date(from).toISOString()} ${fault.name}`);
  }

  /** Returns lines that say how often each fault was caused. */
  summary(): readonly string[] {
    return this.#kinds.map(({ name }) => {
      const times = this.#windows.filter(({ fault }) => fault.name === name).length;
      return `${times} × ${name}`;
    });
  }
}
