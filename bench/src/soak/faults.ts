import { setTimeout as sleep } from "node:timers/promises";
import type { TcpProxy } from "../tcp-proxy.js";
import type { FailingEndpoint } from "./failing-endpoint.js";
import type { Failure } from "./failures.js";

/** A kind of fault. */
interface Fault {
  readonly name: string;
  readonly inject: () => void | Promise<void>;
  /** Matches the failures that the fault can cause. */
  readonly explains: RegExp;
  /** Time after the end of the fault in which it can still cause failures, in milliseconds. */
  readonly afterMs: number;
}

/** Time between the end of a fault and the next fault, in milliseconds. */
const PAUSE_MS = { min: 8000, max: 16_000 };

/** Failures while statements fail, or while too many messages wait for statements. */
const DATABASE_FAILURE = /: (503|429)$|SALLYPORT_(STORAGE|COMMITTED)/;
/** Failures of calls to the Management API. */
const GATEWAY_FAILURE = /SALLYPORT_(DELIVERY|QUEUE_FULL)|the connection \(status (429|500)\)|: 429$/;

/** Injects faults in random order, and finds the failures that no fault explains. */
export class Faults {
  readonly #kinds: readonly Fault[];
  readonly #history: { readonly fault: Fault; readonly from: number; until: number }[] = [];

  /** @param stopReading makes some clients stop reading for a number of milliseconds */
  constructor(database: TcpProxy, endpoint: FailingEndpoint, stopReading: (ms: number) => void) {
    const failWith = (status: number, share: number) => async () => {
      endpoint.failure = { status, share };
      await sleep(5000);
      endpoint.failure = undefined;
    };
    this.#kinds = [
      {
        name: "database connections were reset",
        inject: () => database.cut(),
        explains: DATABASE_FAILURE,
        afterMs: 10_000,
      },
      {
        name: "database connections were dropped silently",
        inject: () => database.forget(),
        explains: DATABASE_FAILURE,
        // The app detects it after 4.5 s. A message from just before can then wait in the queue for
        // 5 s.
        afterMs: 15_000,
      },
      {
        name: "the database refused connections for 2 s",
        inject: async () => {
          await database.refuse();
          await sleep(2000);
          await database.listen();
        },
        explains: DATABASE_FAILURE,
        afterMs: 10_000,
      },
      {
        name: "the gateway returned 429 for half of the calls for 5 s",
        inject: failWith(429, 0.5),
        explains: GATEWAY_FAILURE,
        afterMs: 10_000,
      },
      {
        name: "the gateway returned 500 for half of the calls for 5 s",
        inject: failWith(500, 0.5),
        explains: GATEWAY_FAILURE,
        afterMs: 10_000,
      },
      {
        name: "clients stopped reading for 20 s",
        inject: () => stopReading(20_000),
        explains: GATEWAY_FAILURE,
        afterMs: 30_000,
      },
    ];
  }

  /**
   * Injects faults, each kind equally often and in random order.
   *
   * @param until a time of `performance.now()`
   */
  async run(until: number): Promise<void> {
    for (let remaining: Fault[] = []; ; ) {
      const pause = PAUSE_MS.min + Math.random() * (PAUSE_MS.max - PAUSE_MS.min);
      if (performance.now() + pause > until) return sleep(Math.max(0, until - performance.now()));
      await sleep(pause);
      if (remaining.length === 0) remaining = [...this.#kinds];
      const [fault] = remaining.splice(Math.floor(Math.random() * remaining.length), 1) as [Fault];
      const window = { fault, from: Date.now(), until: Number.POSITIVE_INFINITY };
      this.#history.push(window);
      await fault.inject();
      window.until = Date.now() + fault.afterMs;
    }
  }

  /** Returns the failures that no fault explains. */
  unexplained(failures: readonly Failure[]): readonly Failure[] {
    return failures.filter(
      ({ at, message, delayMs }) =>
        !this.#history.some(
          // Failures are counted per second.
          ({ fault, from, until }) =>
            at >= from - 1000 && at <= until + delayMs && fault.explains.test(message),
        ),
    );
  }

  /** Returns a line with the start time of each fault. */
  timeline(): readonly string[] {
    return this.#history.map(({ fault, from }) => `${new Date(from).toISOString()} ${fault.name}`);
  }

  /** Returns a line with the number of faults of each kind. */
  summary(): readonly string[] {
    return this.#kinds.map(({ name }) => {
      const times = this.#history.filter(({ fault }) => fault.name === name).length;
      return `${times} × ${name}`;
    });
  }
}
