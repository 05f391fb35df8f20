import type { Check } from "../check.ts";
import { CONNECTING } from "./connecting.ts";
import { CONTROL_PLANE, DESTRUCTION } from "./control-plane.ts";
import { DURATION } from "./duration.ts";
import { HTTP_TARGETS } from "./http-targets.ts";
import { MANAGEMENT } from "./management.ts";
import { MESSAGES } from "./messages.ts";

/** All checks in the order in which they run. The last one removes the API. */
export const CHECKS: readonly Check[] = [
  ...CONNECTING,
  ...MESSAGES,
  ...MANAGEMENT,
  ...HTTP_TARGETS,
  ...CONTROL_PLANE,
  // AWS can replace the instance of the function during the hours of these checks.
  ...DURATION,
  ...DESTRUCTION,
];
