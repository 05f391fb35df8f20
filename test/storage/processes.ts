import { sql } from "kysely";
import { afterEach, beforeEach } from "vitest";
import type { Database } from "../../src/storage/database.ts";
import { databaseTime, storageAt, type TestDatabase } from "../postgres/database.ts";
import { migratedDatabase } from "../postgres/migrated-database.ts";

/** A database of each test's own with our tables, and handles on it: each is what one process has. */
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

  /** The time by the database's clock, in epoch milliseconds. */
  time(): Promise<number> {
    return databaseTime(this.source);
  }

  /** One more handle; it is closed with the others. */
  open(): Database {
    const storage = storageAt(this.source);
    this.#opened.push(storage);
    return storage;
  }

  /** Lets a third process read twenty times: long enough for a write that waits for nothing. */
  async passTime(): Promise<void> {
    const third = this.open();
    for (let reads = 0; reads < 20; reads++) {
      await third.db.selectFrom("sallyport_counters").selectAll().execute();
    }
  }

  /** The same noun in both processes. */
  each<Noun>(make: (database: Database) => Noun): readonly [Noun, Noun] {
    return [make(this.one), make(this.two)];
  }

  /** Starts many works together, which take turns among the nouns, and waits for all of them. */
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

/** Opens every connection that a handle may have: whoever waits for one comes too late for a race. */
async function connected(database: Database): Promise<void> {
  await Promise.all(Array.from({ length: 10 }, () => sql`select 1`.execute(database.db)));
}

export function twoProcesses(): Processes {
  const processes = new Processes();
  beforeEach(() => processes.begin());
  afterEach(() => processes.end());
  return processes;
}

/** What came of works that were started together. */
export interface Outcome<Result> {
  readonly passed: readonly Result[];
  readonly failed: readonly unknown[];
}

/** In JavaScript's own order, which neither database need share. */
export function sorted<Item>(items: Iterable<Item>): Item[] {
  return [...items].sort();
}
