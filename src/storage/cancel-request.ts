import { connect } from "node:net";

/** The maximum duration of a cancel request, in milliseconds. */
const SEND_MS = 1000;
/** The code of a cancel request. Source: PostgreSQL, "Message Formats", CancelRequest. */
const CANCEL_CODE = 80_877_102;

/** Identifies a session of a server. The client of `pg` has these properties. */
export interface ServerSession {
  /** Host name of the server, or the folder of its Unix socket. */
  readonly host?: string;
  readonly port?: number;
  readonly processID?: number | null;
  readonly secretKey?: number | null;
}

/**
 * Requests that the server cancels the statement that a session runs.
 *
 * PostgreSQL does not answer the request. The statement fails with 57014. A transaction pooler
 * forwards the request, but may reject a `statement_timeout` at the start of a session. The request
 * is not encrypted, so the session must not be used again.
 */
export function requestCancel({ host, port, processID, secretKey }: ServerSession): void {
  if (!host || !port || typeof processID !== "number" || typeof secretKey !== "number") return;
  const request = Buffer.alloc(16);
  request.writeInt32BE(request.length, 0);
  request.writeInt32BE(CANCEL_CODE, 4);
  request.writeInt32BE(processID, 8);
  request.writeInt32BE(secretKey, 12);
  const socket = host.startsWith("/") ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host);
  const timer = setTimeout(() => socket.destroy(), SEND_MS);
  socket.on("error", () => undefined);
  socket.on("close", () => clearTimeout(timer));
  // The server closes the connection. PgBouncer drops the request of a client that closes its side
  // first.
  socket.on("connect", () => socket.write(request));
  socket.resume();
}
