import { sql } from "kysely";
import { afterEach, beforeEach } from "vitest";
import type { Database } from "../../src/storage/database.ts";
import { databaseTime, storageAt, type TestDatabase } from "../postgres/database.ts";
import { migratedDatabase } from "../postgres/migrated-database.ts";

/** A migrated database for each test, with a storage for each simulated process. */
export class Processes {
  #database: TestDatabase | undefined;
  readonly #opened: Database[] = [];

  get source(): string {
    if (!this.#database) throw new Error("There is a database only while a test runs.");
    return this.#database.source;
  }

  get one(): Database {
    return this.#opened[0] as Database;
  }

  get two(): Database {
    return this.#opened[1] as Database;
  }

  /** Returns the time of the database clock, in epoch milliseconds. */
  time(): Promise<number> {
    return databaseTime(this.source);
  }

  /** Opens one more storage, which is closed with the others. */
  open(): Database {
    const storage = storageAt(this.source);
    this.#opened.push(storage);
    return storage;
  }

  /** Lets a third process read twenty times, which is enough for a write that is not blocked. */
  async passTime(): Promise<void> {
    const third = this.open();
    for (let reads = 0; reads < 20; reads++) {
      await third.db.selectFrom("sallyport_counters").selectAll().execute();
    }
  }

  /** Creates an object for each of the two processes. */
  each<Noun>(make: (database: Database) => Noun): readonly [Noun, Noun] {
    return [make(this.one), make(this.two)];
  }

  /** Starts `count` calls at once, in turn on the given objects, and waits for all of them. */
  async race<Noun, Result>(
    count: number,
    nouns: readonly Noun[],
    work: (noun: Noun, index: number) => Promise<Result>,
  ): Promise<Outcome<Result>> {
    await Promise.all(this.#opened.map(connected));
    const works = Array.from({ length: count }, (_, index) =>
      work(nouns[index % nouns.length] as Noun, index),
    );
    const settled = await Promise.allSettled(works);
    return {
      passed: settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : [])),
      failed: settled.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : [])),
    };
  }

  async begin(): Promise<void> {
    this.#database = await migratedDatabase();
    this.open();
    this.open();
  }

  async end(): Promise<void> {
    for (const storage of this.#opened.splice(0)) await storage.close();
    await this.#database?.drop();
    this.#database = undefined;
  }
}

/** Opens all connections of a storage, so that no call of a race waits for one. */
async function connected(database: Database): Promise<void> {
  await Promise.all(Array.from({ length: 10 }, () => sql`select 1`.execute(database.db)));
}

export function twoProcesses(): Processes {
  const processes = new Processes();
  beforeEach(() => processes.begin());
  afterEach(() => processes.end());
  return processes;
}

/** The results and the errors of calls that were started together. */
export interface Outcome<Result> {
  readonly passed: readonly Result[];
  readonly failed: readonly unknown[];
}

/** Sorts in JavaScript's order, which can differ from the order of the databases. */
export function sorted<Item>(items: Iterable<Item>): Item[] {
  return [...items].sort();
}
