import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { ConfigurationError } from "../errors.ts";

/** A private key and its certificate, in PEM. */
export interface Certificate {
  readonly key: string | Buffer;
  /** With those of the authorities between, if there are any. */
  readonly cert: string | Buffer;
}

interface Listening {
  readonly host: string;
  readonly port: number;
  /** Undefined for clients without TLS. */
  readonly tls: Certificate | undefined;
}

/**
 * A server that listens, with no listener of its own.
 *
 * @throws ConfigurationError for a certificate that cannot be used, and for a host or port that cannot be had
 */
export async function listen({ host, port, tls }: Listening): Promise<Server> {
  const server = tls ? secureServer(tls) : createServer();
  try {
    server.listen(port, host);
    await once(server, "listening");
    return server;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") {
      throw new ConfigurationError(`Port ${port} is in use. Stop the other program, or choose another port.`);
    }
    throw new ConfigurationError(
      `Cannot listen on ${host}:${port} (${message}). Choose another host or port.`,
    );
  }
}

function secureServer({ key, cert }: Certificate): Server {
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
