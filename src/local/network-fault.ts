/** What is wrong with a client. */
export type Impairment = "none" | "half-open" | "not-reading";
