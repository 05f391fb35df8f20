export {
  type AccessMatrix,
  type AccessRow,
  accessMatrix,
  type Cell,
  expectAccessMatrix,
  type Role,
} from "./access-matrix.ts";
export type { TestClock } from "./clock.ts";
export { DeniedError, type PushedFrame, type TestCalls, type TestSocket } from "./socket.ts";
export { type ConnectAsOptions, createTestApp, type TestApp, type TestAppOptions } from "./test-app.ts";
