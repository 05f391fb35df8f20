export {
  type AccessMatrix,
  type AccessRow,
  accessMatrix,
  type Cell,
  expectAccessMatrix,
  type Role,
} from "./access-matrix.ts";
export type { TestClock } from "./clock.ts";
export { type ConnectAsOptions, type Harness, type HarnessOptions, openHarness } from "./harness.ts";
export { DeniedError, type PushedFrame, type TestCalls, type TestSocket } from "./socket.ts";
