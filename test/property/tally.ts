import type { Ran } from "./app.ts";
import type { Wanted } from "./expected.ts";

/** What happened over all worlds, so that a suite in which nothing happens is seen to be one. */
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

  saw(ran: readonly Ran[], lines: readonly string[], wanted: Wanted): void {
    const call = ({ name, socket, n }: Ran) => `${socket} ${name} ${n}`;
    this.frames += lines.length;
    this.calls += ran.length;
    this.forbiddenFrames += excess(lines, wanted.lines);
    this.forbiddenCalls += excess(ran.map(call), wanted.ran.map(call));
  }

  /** The last words of a run. */
  summary(seed: number): string {
    const { steps, frames, calls, forbiddenFrames, forbiddenCalls } = this;
    const permitted = `${frames - forbiddenFrames} frames and ${calls - forbiddenCalls} handler calls were permitted`;
    return `${steps} steps, seed ${seed}, ${forbiddenFrames} forbidden frames, ${forbiddenCalls} forbidden handler calls; ${permitted}`;
  }
}

/** How many of a list are not accounted for by another. */
function excess(list: readonly string[], wanted: readonly string[]): number {
  const left = [...wanted];
  return list.filter((item) => {
    const index = left.indexOf(item);
    if (index >= 0) left.splice(index, 1);
    return index < 0;
  }).length;
}
