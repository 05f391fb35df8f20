/** What is wrong with a client. */
export type NetworkFault = "none" | "half-open" | "not-reading";
