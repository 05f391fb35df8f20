import type { Sallyport, SallyportOptions } from "sallyport";
import type { HttpRequest, HttpResponse } from "../../build/protocol/http.js";

/** The internal members of a Sallyport object. */
interface Internals {
  answer(http: HttpRequest): Promise<HttpResponse | undefined>;
  start(): void;
  with(options: Partial<SallyportOptions>): Sallyport;
}

/** Returns the internal members, so that a benchmark can handle events without an HTTP server. */
export function internalsOf(app: Sallyport): Internals {
  return (app as unknown as Record<symbol, Internals>)[Symbol.for("sallyport.internal")] as Internals;
}
