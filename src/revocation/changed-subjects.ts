/**
 * What a change of permissions concerns: a user, the members of a group, the connections of one session of the app, one connection (by
 * the id of its row), the connections in a channel or of a view, or every connection.
 */
export interface ChangedSubject {
  readonly scope: "user" | "group" | "session" | "connection" | "channel" | "view" | "everyone";
  /** Id or name. `""` for everyone. */
  readonly subject: string;
}

/** Every connection. */
export const EVERYONE: readonly ChangedSubject[] = [{ scope: "everyone", subject: "" }];

/** A connection as it was read, with what the permissions of its user came from. */
export interface Reading {
  readonly id: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  readonly view: string;
  /** The grants that were read. A change of a group concerns those who hold one of them through it. */
  readonly grants: readonly { readonly group: string | null }[];
  /** The channels whose rules or `authorize` were checked. */
  readonly channels: readonly string[];
}

/** Subjects that are remembered one by one. With more, everyone counts as changed, which costs one more reading. */
const MAX_SUBJECTS = 10_000;

/**
 * Remembers which subjects lost something in this process, or in another one as far as the change log was read. What was read before is
 * out of date, and is read again before it is used.
 */
export class ChangedSubjects {
  #sequence = 0;
  #everyone = 0;
  #anyGroup = 0;
  readonly #subjects = new Map<string, number>();

  /** Returns the present moment, for a later call of {@link isStale}. */
  now(): number {
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

  /** Returns true if a connection that was read at a moment can have lost something since. */
  isStale(reading: Reading, since: number): boolean {
    // Nothing has changed since then, for any connection.
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
