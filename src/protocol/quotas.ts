/**
 * Quotas of API Gateway. AWS does not raise them, unless the comment of a quota states it.
 *
 * Source: AWS developer guide, "Amazon API Gateway quotas", WebSocket APIs.
 */

/** Maximum size of a message in both directions, in bytes. A larger one closes with code 1009. */
export const MAX_MESSAGE_BYTES = 128 * 1024;

/**
 * Maximum size of a WebSocket frame, in bytes. A larger frame closes the connection with code 1009.
 */
export const MAX_FRAME_BYTES = 32 * 1024;

/** Idle timeout of a connection, in milliseconds. It closes with code 1001 "Going away". */
export const IDLE_TIMEOUT_MS = 10 * 60_000;

/** Maximum duration of a connection, in milliseconds. */
export const MAX_CONNECTION_MS = 2 * 60 * 60_000;

/**
 * Maximum age of the row of an open connection, in milliseconds: two hours, and five minutes for
 * clock differences and late `$disconnect` events.
 */
export const MAX_CONNECTION_ROW_AGE_MS = MAX_CONNECTION_MS + 5 * 60_000;

/** Minimum timeout of an integration, in milliseconds. */
export const MIN_INTEGRATION_TIMEOUT_MS = 50;

/** Maximum time that an integration has for one event, in milliseconds. */
export const INTEGRATION_TIMEOUT_MS = 29_000;

/**
 * Age of a row up to which status 410 can mean that the connection is not open yet, in
 * milliseconds.
 *
 * The Management API returns 410 until `$connect` has finished.
 */
export const ARRIVAL_MS = INTEGRATION_TIMEOUT_MS;

/** Maximum number of routes of one API. AWS can raise it. */
export const MAX_ROUTES = 300;
