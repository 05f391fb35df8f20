/** One reading of the two clocks of a process. */
export interface ClockReading {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

/** Reads the wall clock and the monotonic clock. */
export function readClocks(): ClockReading {
  return { wallMs: Date.now(), monotonicMs: performance.now() };
}

/**
 * Returns an upper bound of the time since a reading, in milliseconds. Use it to expire cached
 * values.
 *
 * The wall clock can be set back or forward. The monotonic clock cannot, but it can stop while the
 * machine is suspended. The greater difference is returned.
 */
export function msSince({ wallMs, monotonicMs }: ClockReading): number {
  return Math.max(Math.abs(Date.now() - wallMs), performance.now() - monotonicMs);
}
