/** Limits of tests that wait. They only end a test that hangs, and allow for two runs side by side on two slow cores. */
export const LIMITS = {
  testTimeout: 180_000,
  hookTimeout: 180_000,
  // expect.poll() is how a test waits for an event. Its limit is below testTimeout, so that the message says what never happened.
  expect: { poll: { timeout: 60_000, interval: 20 } },
};
