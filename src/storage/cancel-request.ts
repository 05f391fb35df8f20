import { connect } from "node:net";

/** How long the connection of a cancel request may take, in milliseconds. */
const SEND_MS = 1000;
/** Code that marks a cancel request. Source: PostgreSQL, "Message Formats", CancelRequest. */
const CANCEL_CODE = 80_877_102;

/** What identifies a session of a server, as `pg`'s client stores it. */
export interface ServerSession {
  /** Name of the server, or the folder of its Unix socket. */
  readonly host?: string;
  readonly port?: number;
  readonly processID?: number | null;
  readonly secretKey?: number | null;
}

/**
 * Requests that the server cancels the statement which a session runs. PostgreSQL sends no answer to the request: the statement
 * fails with 57014. A pooler of transactions passes the request on, whereas it may reject a `statement_timeout` at the start of a
 * session. The request is not encrypted, so the session must not be used again.
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
  // The server closes the connection. PgBouncer drops the request of a client that closes its side first.
  socket.on("connect", () => socket.write(request));
  socket.resume();
}
