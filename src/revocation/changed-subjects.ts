import type { ChangedSubject } from "../storage/stores/changes.ts";

/** A connection as it was read, with the grants and channels that its access depends on. */
export interface Reading {
  readonly id: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  readonly view: string;
  /** The grants that were read. A change of a group affects the users with a grant through it. */
  readonly grants: readonly { readonly group: string | null }[];
  /** The channels for which rules or `authorize` were checked. */
  readonly channels: readonly string[];
}

/**
 * Maximum number of subjects in memory. With more, everyone counts as changed and is read again.
 */
const MAX_SUBJECTS = 10_000;

/**
 * Records the subjects that may have lost access by changes of this process, and of other processes
 * as far as the change log was read. Permissions that were read before are read again before their
 * use.
 */
export class ChangedSubjects {
  /**
   * Starts to read the changes of other processes. Resolves when those that are recorded so far
   * have been read.
   */
  readonly readChanges: () => Promise<void>;
  #sequence = 0;
  #everyone = 0;
  #anyGroup = 0;
  readonly #subjects = new Map<string, number>();

  /** @param readChanges see {@link readChanges}. Default: there are no other processes */
  constructor(readChanges: () => Promise<void> = async () => undefined) {
    this.readChanges = readChanges;
  }

  /** The number of changes so far, for a later call of {@link isStale}. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Marks subjects as changed. Call it after the commit. */
  mark(subjects: readonly ChangedSubject[]): void {
    if (subjects.length === 0) return;
    this.#sequence++;
    for (const { scope, subject } of subjects) {
      if (scope === "everyone" || this.#subjects.size >= MAX_SUBJECTS) {
        this.#everyone = this.#sequence;
        this.#subjects.clear();
        return;
      }
      if (scope === "group") this.#anyGroup = this.#sequence;
      this.#subjects.set(`${scope} ${subject}`, this.#sequence);
    }
  }

  /**
   * Returns whether a connection can have lost access since it was read.
   *
   * @param since the result of {@link sequence} before the connection was read
   */
  isStale(reading: Reading, since: number): boolean {
    if (this.#sequence === since) return false;
    if (this.#everyone > since) return true;
    const { id, userId, sessionId, view, grants, channels } = reading;
    return (
      this.#isChanged("connection", id, since) ||
      this.#isChanged("view", view, since) ||
      (userId !== null && this.#isChanged("user", userId, since)) ||
      (sessionId !== null && this.#isChanged("session", sessionId, since)) ||
      channels.some((channel) => this.#isChanged("channel", channel, since)) ||
      (this.#anyGroup > since &&
        grants.some(({ group }) => group !== null && this.#isChanged("group", group, since)))
    );
  }

  #isChanged(scope: ChangedSubject["scope"], subject: string, since: number): boolean {
    return (this.#subjects.get(`${scope} ${subject}`) ?? 0) > since;
  }
}
