/** Users remembered one by one; with more, everybody counts as changed, which costs a reading and harms nobody. */
const MAX_USERS = 10_000;

/**
 * Whose rights may have changed in this process since something was read: what is still under way with old rights
 * is read again before it goes out.
 */
export class Changes {
  #sequence = 0;
  #everybody = 0;
  readonly #users = new Map<string, number>();

  /** The moment now, to be asked about later. */
  now(): number {
    return this.#sequence;
  }

  /**
   * Call it after the commit: whatever was read before counts as old from then on.
   *
   * @param userId whose rights changed; left out where it may be anybody's
   */
  mark(userId?: string): void {
    this.#sequence++;
    if (userId === undefined || this.#users.size >= MAX_USERS) {
      this.#everybody = this.#sequence;
      this.#users.clear();
    } else this.#users.set(userId, this.#sequence);
  }

  /** Whether what a user, or somebody who has not signed in, may do can differ from what was read at a moment. */
  touched(userId: string | null, since: number): boolean {
    return this.#everybody > since || (userId !== null && (this.#users.get(userId) ?? 0) > since);
  }
}
