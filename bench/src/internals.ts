import type { HttpAnswer, HttpCall, Sallyport, SallyportOptions } from "sallyport";

/** The members of a Sallyport object that adapters use. */
interface Internals {
  answer(http: HttpCall): Promise<HttpAnswer | undefined>;
  start(): void;
  with(options: Partial<SallyportOptions>): Sallyport;
}

/** Returns the members that adapters use. A benchmark calls them without an HTTP server. */
export function internalsOf(app: Sallyport): Internals {
  return (app as unknown as Record<symbol, Internals>)[Symbol.for("sallyport.internal")] as Internals;
}
