import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import type { AwsCredentials, SignableCall } from "../../src/delivery/sigv4.ts";

/** Node's hashes in the form that smithy asks for. */
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

/** The headers of a call of the Management API as AWS's own signer makes them. */
export async function bySmithy(
  region: string,
  credentials: AwsCredentials,
  call: Omit<SignableCall, "body"> & {
    readonly body: string | Uint8Array;
    /** Default: none. */
    readonly query?: Readonly<Record<string, string | readonly string[]>>;
  },
  now: number,
) {
  const smithy = new SignatureV4({
    service: "execute-api",
    region,
    credentials: { ...credentials } as never,
    sha256: Sha256 as never,
  });
  const { method, host, path, body, contentType, query = {} } = call;
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
