/** A registered gateway: one WebSocket API and stage of API Gateway. */
export interface Gateway {
  readonly id: string;
  readonly name: string;
  /** The id that AWS gave the API, or null if it is not known. */
  readonly apiId: string | null;
  readonly stage: string;
  /**
   * URL of the management API, such as `https://abc123.execute-api.eu-west-1.amazonaws.com/prod`.
   */
  readonly endpoint: string;
  /** SHA-256 of the accepted secrets, newest first. There are two during a rotation. */
  readonly secretHashes: readonly string[];
  /** How replies are sent: as the route response, or through the management API (`push`). */
  readonly replies: "route" | "push";
}

/** The gateways and the leases of provisioning. Each operation is atomic. */
export interface GatewayStore {
  /** Returns all gateways, ordered by name. */
  list(): Promise<readonly Gateway[]>;

  /**
   * Creates a gateway, or replaces the gateway with the same name. Its connections stay open.
   *
   * @param hashesOf returns the accepted secrets, from those of the gateway that is replaced.
   *   Undefined to keep them
   * @returns the name of another gateway with the same secret. Nothing is written then. Otherwise
   *   undefined
   */
  register(
    gateway: Omit<Gateway, "id" | "secretHashes">,
    hashesOf: (current: readonly string[]) => readonly string[] | undefined,
  ): Promise<string | undefined>;

  /**
   * Replaces the accepted secrets of a gateway.
   *
   * @param hashes SHA-256 of at most two secrets, newest first
   */
  accept(name: string, hashes: readonly string[]): Promise<void>;

  /** Deletes a gateway and the rows of its connections. @returns whether it existed */
  remove(name: string): Promise<boolean>;

  /**
   * Takes a lease for the provisioning of a gateway.
   *
   * @param owner a random number below 2^31 that identifies the run
   * @returns the time since another run renewed its lease, in milliseconds, if that is less than
   *   `leaseMs`. Nothing is written then. Otherwise undefined
   */
  takeLease(gateway: string, owner: number, leaseMs: number): Promise<number | undefined>;

  /** Renews a lease. @returns false if another run has taken it */
  renewLease(gateway: string, owner: number): Promise<boolean>;

  /** Ends a lease. */
  endLease(gateway: string, owner: number): Promise<void>;
}
