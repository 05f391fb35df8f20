/**
 * What API Gateway carries and for how long. None of these can be raised where nothing else is said.
 *
 * Source: AWS developer guide, "Amazon API Gateway quotas", WebSocket APIs.
 */

/** Largest message API Gateway carries either way, in bytes. A larger one closes the socket with 1009. */
export const MAX_MESSAGE_BYTES = 128 * 1024;

/** Largest single WebSocket frame, in bytes. A client splits longer messages; a larger frame closes with 1009. */
export const MAX_FRAME_BYTES = 32 * 1024;

/** A socket on which no data passes for this long is closed with 1001 "Going away". */
export const IDLE_TIMEOUT_MS = 10 * 60_000;

/** A socket is closed after this long, however busy it is. */
export const MAX_CONNECTION_MS = 2 * 60 * 60_000;

/** A session row older than this is dead: the two hours, and five minutes for clocks and late `$disconnect`s. */
export const MAX_SESSION_MS = MAX_CONNECTION_MS + 5 * 60_000;

/** Shortest time that an integration may be given to answer one event. */
export const MIN_INTEGRATION_TIMEOUT_MS = 50;

/** Longest time an integration may take to answer one event. */
export const INTEGRATION_TIMEOUT_MS = 29_000;

/**
 * Until `$connect` has been answered the Management API says 410 for its connection, so for a row younger
 * than the longest `$connect` a 410 may mean "not yet".
 */
export const ARRIVAL_MS = INTEGRATION_TIMEOUT_MS;

/** Routes of one API, until AWS raises it. */
export const MAX_ROUTES = 300;
