/** A session of the app that must not have ended. */
export interface EndedSessionCheck {
  /** SHA-256 of the session id in hexadecimal. */
  readonly hash: string;
  /** How long an ended session is remembered, in milliseconds. */
  readonly keepMs: number;
}

/** The sessions that were ended with `access.endSession()`. `ChangeStore` adds them. */
export interface EndedSessionStore {
  /** Returns whether a session has ended. */
  isEnded(session: EndedSessionCheck): Promise<boolean>;

  /**
   * Removes sessions that ended more than `keepMs` milliseconds ago.
   *
   * @returns how many were removed, at most `limit`
   */
  removeExpired(keepMs: number, limit: number): Promise<number>;

  /**
   * Removes the oldest sessions if there are more than `maxRows`.
   *
   * @returns how many were removed, at most `limit`. 0 if there are not more
   */
  removeSurplus(maxRows: number, limit: number): Promise<number>;
}
