import type { HttpAnswer, HttpCall, Sallyport, SallyportOptions } from "sallyport";

/** The internal members of a Sallyport object. */
interface Internals {
  answer(http: HttpCall): Promise<HttpAnswer | undefined>;
  start(): void;
  with(options: Partial<SallyportOptions>): Sallyport;
}

/** Returns the internal members, so that a benchmark can handle events without an HTTP server. */
export function internalsOf(app: Sallyport): Internals {
  return (app as unknown as Record<symbol, Internals>)[Symbol.for("sallyport.internal")] as Internals;
}
