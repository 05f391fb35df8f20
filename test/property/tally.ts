import type { Ran } from "./app.ts";
import type { Effects } from "./expected.ts";

/** Counts the outcomes over all worlds, so that a suite without outcomes does not pass. */
export class Tally {
  steps = 0;
  frames = 0;
  calls = 0;
  forbiddenFrames = 0;
  forbiddenCalls = 0;
  readonly kinds = new Map<string, number>();

  count(kind: string): void {
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
  }

  saw(ran: readonly Ran[], lines: readonly string[], wanted: Effects): void {
    const call = ({ name, socket, n }: Ran) => `${socket} ${name} ${n}`;
    this.frames += lines.length;
    this.calls += ran.length;
    this.forbiddenFrames += excess(lines, wanted.lines);
    this.forbiddenCalls += excess(ran.map(call), wanted.ran.map(call));
  }

  /** Returns a summary line of the run. */
  summary(seed: number): string {
    const { steps, frames, calls, forbiddenFrames, forbiddenCalls } = this;
    const permitted = `${frames - forbiddenFrames} frames and ${calls - forbiddenCalls} handler calls were permitted`;
    return `${steps} steps, seed ${seed}, ${forbiddenFrames} forbidden frames, ${forbiddenCalls} forbidden handler calls; ${permitted}`;
  }
}

/** Returns how many items of a list are not in another list. */
function excess(list: readonly string[], wanted: readonly string[]): number {
  const left = [...wanted];
  return list.filter((item) => {
    const index = left.indexOf(item);
    if (index >= 0) left.splice(index, 1);
    return index < 0;
  }).length;
}
