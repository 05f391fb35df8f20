import { StorageError } from "../errors.ts";
import type { Store } from "./store.ts";

/**
 * Runs an operation of the public API, and converts errors of the driver to a {@link StorageError}.
 */
export async function withStorageErrors<Result>(
  store: Pick<Store, "failure">,
  work: () => Result | Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw store.failure(error);
  }
}

/**
 * Runs work after a commit. If the database fails, the error states that the change was committed.
 *
 * @param change the committed change, as the subject of a sentence
 * @param next sentences about the remaining work and what to do
 * @throws StorageError with the code SALLYPORT_COMMITTED if the database fails
 */
export async function afterCommit<Result>(
  store: Pick<Store, "failure">,
  { change, next }: { readonly change: string; readonly next: string },
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const failure = store.failure(error);
    if (!(failure instanceof StorageError)) throw failure;
    throw new StorageError(
      `${change} is committed, but the database failed afterwards: ${failure.message} ${next}`,
      {
        cause: failure,
        code: "SALLYPORT_COMMITTED",
      },
    );
  }
}
