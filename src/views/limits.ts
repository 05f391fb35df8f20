import * as v from "valibot";
import { atOnceOption, optionsOf, perMinuteOption } from "../options.ts";

/**
 * The limits of a view. Each replaces the value of the app, and counts only the events of this
 * view. `false` turns a limit off for this view.
 *
 * TypeScript infers `boolean` for `static limits = { connectsPerIp: false }`, so the type allows
 * `true`. It is rejected at startup.
 */
export interface ViewLimits {
  /** Tokens of one user for this view, per minute. */
  readonly tokensPerUser?: number | boolean | undefined;
  /** Connects of one user to this view through one gateway, per minute. */
  readonly connectsPerUser?: number | boolean | undefined;
  /** Connects from one address (IPv6: one /64) to this view through one gateway, per minute. */
  readonly connectsPerIp?: number | boolean | undefined;
  /** Failed connects to this view from one address through one gateway, per minute. */
  readonly failedConnectsPerIp?: number | boolean | undefined;
  /** Open connections of one user to this view, through all gateways. */
  readonly connectionsPerUser?: number | boolean | undefined;
  /** Messages on one connection, per minute and process. */
  readonly messagesPerConnection?: number | boolean | undefined;
  /** Messages of one user on all connections to this view, per minute and process. */
  readonly messagesPerUser?: number | boolean | undefined;
}

/** The validated limits of a view. */
export type ValidViewLimits = { readonly [Name in keyof ViewLimits]?: number | false };

/** The limits of a handler. They apply in addition to the limits of its view or of the app. */
export interface HandlerLimits {
  /** Calls of this handler on one connection, per minute and process. */
  readonly messagesPerConnection?: number | false | undefined;
  /** Calls of this handler by one user on all connections to its view, per minute and process. */
  readonly messagesPerUser?: number | false | undefined;
}

const IN_FLIGHT = "It is a limit of the app. Set it in createSallyport({ limits }).";

const APP_LIMITS = {
  messagesInFlightPerConnection: IN_FLIGHT,
  messagesInFlightPerUser: IN_FLIGHT,
  messagesInFlightPerProcess: IN_FLIGHT,
};

/**
 * The schema of `static limits`. `undefined` is rejected. It may be a wrong import, and would turn
 * a limit off.
 */
export const viewLimitsSchema = optionsOf<ValidViewLimits>()(
  {
    tokensPerUser: v.exactOptional(perMinuteOption),
    connectsPerUser: v.exactOptional(perMinuteOption),
    connectsPerIp: v.exactOptional(perMinuteOption),
    failedConnectsPerIp: v.exactOptional(perMinuteOption),
    connectionsPerUser: v.exactOptional(atOnceOption("connections")),
    messagesPerConnection: v.exactOptional(perMinuteOption),
    messagesPerUser: v.exactOptional(perMinuteOption),
  },
  APP_LIMITS,
);

const NO_CONNECTS = "A handler is called by messages, not by connects. Set it in static limits of the view.";

/** The schema of the option `limits` of a handler. */
export const handlerLimitsSchema = optionsOf<HandlerLimits>()(
  {
    messagesPerConnection: v.exactOptional(perMinuteOption),
    messagesPerUser: v.exactOptional(perMinuteOption),
  },
  {
    ...APP_LIMITS,
    connectsPerUser: NO_CONNECTS,
    connectsPerIp: NO_CONNECTS,
    failedConnectsPerIp: NO_CONNECTS,
    connectionsPerUser: NO_CONNECTS,
    tokensPerUser: "A token opens a view, not a handler. Set it in static limits of the view.",
  },
);
