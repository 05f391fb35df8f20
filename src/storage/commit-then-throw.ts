import type { Kysely } from "kysely";
import { RefusedError } from "../errors.ts";
import type { Services } from "../services.ts";
import type { Tables } from "./database.ts";

/**
 * A write whose refusal is no reason to undo it: what was counted and spent stays so.
 *
 * @param refused is told of the refusal in the same transaction, and may throw another in its place
 * @throws RefusedError after the commit
 */
export async function commitThenThrow<Result>(
  services: Services,
  work: (db: Kysely<Tables>) => Promise<Result>,
  refused?: (db: Kysely<Tables>, refusal: RefusedError) => Promise<void>,
): Promise<Result> {
  const outcome = await services.database.sharedTransaction(async (db) => {
    try {
      return { result: await work(db) };
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      try {
        await refused?.(db, error);
      } catch (later) {
        if (later instanceof RefusedError) return { refusal: later };
        throw later;
      }
      return { refusal: error };
    }
  });
  if ("refusal" in outcome) throw outcome.refusal;
  return outcome.result;
}
