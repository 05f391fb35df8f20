import type { FaultPlan } from "./faults.ts";

/** The request of an integration, as it is passed to the HTTP client or to the function. */
export type SentRequest =
  | {
      readonly kind: "http";
      readonly method: string;
      readonly url: URL;
      /** Names and values in turn. */
      readonly headers: readonly string[];
      readonly body: Buffer | null;
    }
  | { readonly kind: "function"; readonly event: unknown };

/** The part of an answer that {@link Outcome} does not contain. */
export type ReceivedAnswer =
  | {
      readonly kind: "http";
      readonly headers: Readonly<Record<string, string | string[] | undefined>>;
    }
  | { readonly kind: "function"; readonly result: unknown };

/** Receives the request and the answer of an integration while it runs. */
export interface CallObserver {
  /** Called once, before the simulated faults take effect. */
  planned(plan: FaultPlan): void;
  /** Called before each request. The last one is that of the answer. */
  sent(request: SentRequest): void;
  received(answer: ReceivedAnswer): void;
}
