/** The clock and the timers of a local gateway. */
export interface Clock {
  /** Returns the current time in epoch milliseconds. */
  now(): number;
  /**
   * Starts a timer that calls a function once.
   *
   * @param ms the delay in milliseconds
   * @returns an object that restarts or cancels the timer
   */
  after(ms: number, callback: () => void): Alarm;
}

/** A timer of a {@link Clock}. */
export interface Alarm {
  /** Restarts the timer with its original delay. */
  refresh(): void;
  /** Cancels the timer. */
  cancel(): void;
}

/** The system clock. */
export const systemClock: Clock = {
  now: Date.now,
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return { refresh: () => void timer.refresh(), cancel: () => clearTimeout(timer) };
  },
};

/** A clock for tests, which advances only by {@link ManualClock.advance}. */
export class ManualClock implements Clock {
  readonly #alarms = new Set<{ at: number; readonly ms: number; readonly callback: () => void }>();
  #now: number;

  /** @param now the initial time in epoch milliseconds. Default: the current time */
  constructor(now: number = Date.now()) {
    this.#now = now;
  }

  /** Returns the time of this clock in epoch milliseconds. */
  now(): number {
    return this.#now;
  }

  /** Starts a timer that calls a function once, when the clock has advanced by `ms`. */
  after(ms: number, callback: () => void): Alarm {
    const alarm = { at: this.#now + ms, ms, callback };
    this.#alarms.add(alarm);
    return {
      refresh: () => {
        alarm.at = this.#now + ms;
      },
      cancel: () => void this.#alarms.delete(alarm),
    };
  }

  /** Advances the clock by `ms`. Timers that are due run in their order, each at its time. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#alarms].filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
      if (!due) break;
      this.#alarms.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = end;
  }
}
