import type { Decision } from "sallyport";

let isServing = false;

/** From now on each refusal and each right that ended is a line of JSON; a command in another terminal prints none. */
export function logDecisions(): void {
  isServing = true;
}

export function log(decision: Decision): void {
  if (isServing) console.log(JSON.stringify(decision));
}
