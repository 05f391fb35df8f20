/**
 * How far in the future a stored time can be, in milliseconds. A later time was written before the
 * clock was set back. The window, token or lease that it belongs to has ended.
 */
export const MAX_CLOCK_SKEW_MS = 5_000;
