import * as v from "valibot";
import { atOnceOption, optionsOf, perMinuteOption } from "../options.ts";

/**
 * The limits of the app. `false` turns a limit off, and 0 allows nothing.
 *
 * Limits of connects, tokens and messages are per minute. Limits of open connections and of
 * messages in flight apply at any time.
 */
export interface Limits {
  /** Connects of one user through one gateway, with a usable token, per minute. Default 20. */
  readonly connectsPerUser: number | false;
  /**
   * Connects from one address (IPv6: one /64) through one gateway, per minute. It counts connects
   * with a usable token, and connects without a token to views that allow anonymous users. Default
   * 300.
   */
  readonly connectsPerIp: number | false;
  /**
   * Failed connects from one address (IPv6: one /64) through one gateway, per minute. A connect
   * fails if it has no usable token, or the token of another session. Other connects are not
   * limited. Default 20.
   */
  readonly failedConnectsPerIp: number | false;
  /** Open connections of one user through all gateways. Default 50. */
  readonly connectionsPerUser: number | false;
  /** Tokens of one user per minute. Default 20. */
  readonly tokensPerUser: number | false;
  /** Messages on one connection per minute. Each process counts separately. Default 600. */
  readonly messagesPerConnection: number | false;
  /**
   * Messages of one user on all connections per minute. Each process counts separately. Default
   * 3000.
   */
  readonly messagesPerUser: number | false;
  /** Messages on one connection that a process handles at the same time. Default 100. */
  readonly messagesInFlightPerConnection: number | false;
  /**
   * Messages of one user on all connections that a process handles at the same time. Default 200.
   */
  readonly messagesInFlightPerUser: number | false;
  /** Messages that a process handles at the same time. Default 2000. */
  readonly messagesInFlightPerProcess: number | false;
}

/** The option `limits`, with its defaults. */
export const limitsSchema = optionsOf<Partial<Limits>>()({
  connectsPerUser: v.optional(perMinuteOption, 20),
  connectsPerIp: v.optional(perMinuteOption, 300),
  failedConnectsPerIp: v.optional(perMinuteOption, 20),
  connectionsPerUser: v.optional(atOnceOption("connections"), 50),
  tokensPerUser: v.optional(perMinuteOption, 20),
  messagesPerConnection: v.optional(perMinuteOption, 600),
  messagesPerUser: v.optional(perMinuteOption, 3000),
  messagesInFlightPerConnection: v.optional(atOnceOption("messages"), 100),
  messagesInFlightPerUser: v.optional(atOnceOption("messages"), 200),
  messagesInFlightPerProcess: v.optional(atOnceOption("messages"), 2000),
});
