import type { Decision } from "sallyport";

declare const decision: Decision;
// the sample
