/** What the two clocks of a process showed at a moment. */
export interface ClockReading {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

/** Reads both clocks. */
export function readClocks(): ClockReading {
  return { wallMs: Date.now(), monotonicMs: performance.now() };
}

/**
 * Returns the time since a reading in milliseconds, or more, never less. Use it where something must not be kept for too long.
 *
 * The wall clock can be set back or forward. The monotonic clock cannot, but it can stop while the machine is suspended. The one that
 * shows the greater difference counts.
 */
export function msSince({ wallMs, monotonicMs }: ClockReading): number {
  return Math.max(Math.abs(Date.now() - wallMs), performance.now() - monotonicMs);
}
