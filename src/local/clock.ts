/** What tells a gateway the time, and wakes it. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
  /** Calls back once after so many milliseconds. @returns what calls it off */
  after(ms: number, callback: () => void): Alarm;
}

export interface Alarm {
  /** Starts its time anew. */
  refresh(): void;
  cancel(): void;
}

/** The time as it is. */
export const systemClock: Clock = {
  now: Date.now,
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return { refresh: () => void timer.refresh(), cancel: () => clearTimeout(timer) };
  },
};

/** A clock that stands until it is put forward: ten minutes of silence pass in no time. */
export class ManualClock implements Clock {
  readonly #alarms = new Set<{ at: number; readonly ms: number; readonly callback: () => void }>();
  #now: number;

  /** @param now epoch milliseconds. Default: the time as it is */
  constructor(now: number = Date.now()) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

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

  /** Puts it forward. Whatever is due by then is done, in its order and at its time. */
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
