import { StorageError } from "../errors.ts";
import type { Database } from "./database.ts";

/** Runs an operation of the public API, and turns what the driver throws into a {@link StorageError}. */
export async function withStorageErrors<Result>(
  database: Database,
  work: () => Result | Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw database.failure(error);
  }
}

/**
 * Runs what follows a commit. Where the database fails then, the caller learns that the change itself was made.
 *
 * @param change what is committed, as the subject of a sentence
 * @param next what becomes of the rest
 * @throws StorageError with the code SALLYPORT_COMMITTED
 */
export async function afterCommit<Result>(
  database: Database,
  { change, next }: { readonly change: string; readonly next: string },
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const failure = database.failure(error);
    if (!(failure instanceof StorageError)) throw failure;
    throw new StorageError(
      `${change} is committed, but the database failed afterwards. ${next} ${failure.message}`,
      {
        cause: failure,
        code: "SALLYPORT_COMMITTED",
      },
    );
  }
}
