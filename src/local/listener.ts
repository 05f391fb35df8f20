import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { ConfigurationError } from "../errors.ts";
import { checkShape, type Shape } from "./shape.ts";

/** A private key and its certificate, in PEM format. */
export interface Certificate {
  /** The private key. */
  readonly key: string | Buffer;
  /** The certificate, followed by intermediate certificates if there are any. */
  readonly cert: string | Buffer;
}

interface Listening {
  readonly host: string;
  readonly port: number;
  /** The certificate, or undefined for a server without TLS. */
  readonly tls: Certificate | undefined;
}

/** A server that listens. */
export interface Listener {
  /** The server, without listeners for requests and upgrades. */
  readonly server: Server;
  readonly port: number;
  /** The IP address that the server listens on. It is "0.0.0.0" or "::" for all addresses. */
  readonly address: string;
  /** Accepts no new connections, and resolves when the port and all sockets are closed. */
  close(): Promise<void>;
  /**
   * Destroys every socket, including one in its TLS handshake, which the HTTP server does not know.
   */
  cut(): void;
}

/**
 * Starts a server.
 *
 * @throws ConfigurationError for an invalid certificate, and for a host or port that is not
 *   available
 */
export async function listen({ host, port, tls }: Listening): Promise<Listener> {
  const server = tls === undefined ? createServer() : secureServer(tls);
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") {
      throw new ConfigurationError(`Port ${port} is in use. Stop the other program, or choose another port.`);
    }
    throw new ConfigurationError(
      `Cannot listen on ${host}:${port} (${message}). Choose another host or port.`,
    );
  }
  return {
    server,
    port: (server.address() as AddressInfo).port,
    address: (server.address() as AddressInfo).address,
    close: () => new Promise((resolve) => server.close(() => resolve())),
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

const CERTIFICATE = { key: "text or bytes", cert: "text or bytes" } as const satisfies Shape<Certificate>;

function secureServer(certificate: Certificate): Server {
  checkShape("tls", certificate, CERTIFICATE);
  const { key, cert } = certificate;
  try {
    if (!key || !cert) throw new Error("one of them is missing");
    // Source: AWS developer guide, "Security policies for WebSocket APIs".
    return createSecureServer({ key, cert, minVersion: "TLSv1.2" });
  } catch (error) {
    throw new ConfigurationError(
      `tls: the key and the certificate cannot be used (${(error as Error).message}). Write: tls: { key, cert }, both in PEM.`,
    );
  }
}
