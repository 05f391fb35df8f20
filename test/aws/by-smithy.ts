import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import type { AwsCredentials, SignableCall } from "../../src/delivery/sigv4.ts";

/** SHA-256 and HMAC of Node.js with the interface that smithy requires. */
class Sha256 {
  #hash;
  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash("sha256") : createHmac("sha256", secret as Buffer);
  }
  update(data: Uint8Array | string) {
    this.#hash.update(data);
  }
  async digest() {
    return new Uint8Array(this.#hash.digest());
  }
  reset() {}
}

function signer(region: string, credentials: AwsCredentials, service = "execute-api"): SignatureV4 {
  return new SignatureV4({
    service,
    region,
    credentials: { ...credentials } as never,
    sha256: Sha256 as never,
  });
}

/**
 * Returns the headers of a call of the Management API or of another service, signed by the signer
 * of the AWS SDK.
 */
export async function bySmithy(
  region: string,
  credentials: AwsCredentials,
  call: Omit<SignableCall, "body"> & {
    readonly body: string | Uint8Array;
    /** The name of the service in the signature. Default: the Management API. */
    readonly service?: string;
    /** Default: none. */
    readonly query?: Readonly<Record<string, string | readonly string[]>>;
  },
  now: number,
) {
  const { method, host, path, body, contentType, query = {}, service } = call;
  const smithy = signer(region, credentials, service);
  const [hostname = "", port] = host.split(":");
  const signed = await smithy.sign(
    {
      protocol: "https:",
      method,
      hostname,
      ...(port === undefined ? {} : { port: Number(port) }),
      path,
      query,
      headers: { ...(contentType === undefined ? {} : { "content-type": contentType }), host },
      body,
    } as never,
    { signingDate: new Date(now) },
  );
  return (signed as unknown as { headers: Record<string, string> }).headers;
}

/**
 * Returns the query of an upgrade request, signed by the signer of the AWS SDK. Browsers need it
 * because they cannot set headers.
 */
export async function queryBySmithy(
  region: string,
  credentials: AwsCredentials,
  { host, pathname, searchParams }: URL,
  { now, expirySeconds }: { readonly now: number; readonly expirySeconds: number },
): Promise<string> {
  const request = {
    protocol: "wss:",
    method: "GET",
    hostname: host,
    path: pathname,
    query: Object.fromEntries(searchParams),
    headers: { host },
  };
  const signed = await signer(region, credentials).presign(request as never, {
    expiresIn: expirySeconds,
    signingDate: new Date(now),
  });
  const { query } = signed as unknown as { query: Record<string, string> };
  return Object.entries(query)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .join("&");
}
