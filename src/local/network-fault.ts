/**
 * A network fault of a client. `half-open`: the client lost its network, and the gateway does not
 * know it. `not-reading`: the client does not read, and its buffer is full.
 */
export type NetworkFault = "none" | "half-open" | "not-reading";
