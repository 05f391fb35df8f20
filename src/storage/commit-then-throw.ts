import type { Kysely } from "kysely";
import { RequestError } from "../errors.ts";
import type { Services } from "../services.ts";
import type { Tables } from "./database.ts";

/**
 * Runs a shared transaction that is committed even if `work` throws a RequestError. Counted events
 * and spent tokens are kept.
 *
 * @param onDenied called with the error in the same transaction. It can throw another RequestError
 *   instead
 * @throws RequestError after the commit
 */
export async function commitThenThrow<Result>(
  services: Services,
  work: (db: Kysely<Tables>) => Promise<Result>,
  onDenied?: (db: Kysely<Tables>, denial: RequestError) => Promise<void>,
): Promise<Result> {
  const outcome = await services.database.sharedTransaction(async (db) => {
    try {
      return { result: await work(db) };
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      try {
        await onDenied?.(db, error);
      } catch (later) {
        if (later instanceof RequestError) return { denial: later };
        throw later;
      }
      return { denial: error };
    }
  });
  if ("denial" in outcome) throw outcome.denial;
  return outcome.result;
}
