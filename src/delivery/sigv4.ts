import { createHmac, createSecretKey, hash, type KeyObject } from "node:crypto";

/** What proves to AWS who is calling. Of the same form as the AWS SDK's. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials, such as a role's. */
  readonly sessionToken?: string | undefined;
  /** Until when they hold; undefined for good. */
  readonly expiration?: Date | undefined;
}

/** A call to be signed, as it goes over the wire. */
export interface SignableCall {
  readonly method: "POST" | "DELETE" | "GET";
  /** The host as the `host` header has it: with its port, where that is not the scheme's own. */
  readonly host: string;
  /** The path as it is sent, percent-encoded once; without query. */
  readonly path: string;
  readonly body: string;
  /** Default: none is sent. */
  readonly contentType?: string | undefined;
}

const SERVICE = "execute-api";
/** Bodies whose hash is remembered: a send has one for all its recipients. */
const KNOWN_BODIES = 16;

/**
 * Signs calls of the Management API by AWS Signature Version 4.
 *
 * The key of a day, the date of a second and the hash of a body are made once, so that a call costs two hashes.
 *
 * Source: AWS, "Create a signed AWS API request"; the path is encoded twice, as for every service but S3.
 */
export class Signer {
  readonly #region: string;
  readonly #credentials: AwsCredentials;
  readonly #bodies = new Map<string, string>();
  #day = "";
  #key: KeyObject | undefined;
  #second = 0;
  #date = "";
  #before = "";
  #encodedBefore = "";

  constructor(region: string, credentials: AwsCredentials) {
    this.#region = region;
    this.#credentials = credentials;
  }

  /**
   * The headers to send beside `host` and what the caller named.
   *
   * @param now epoch milliseconds by AWS's clock
   */
  sign(call: SignableCall, now: number): Record<string, string> {
    const { sessionToken, accessKeyId } = this.#credentials;
    const { method, host, path, body, contentType } = call;
    const date = this.#dateOf(now);
    const day = date.slice(0, 8);
    const bodyHash = this.#hashOf(body);
    const headers: Record<string, string> = { host, "x-amz-content-sha256": bodyHash, "x-amz-date": date };
    // In the order of their names.
    let lines = `host:${host}\nx-amz-content-sha256:${bodyHash}\nx-amz-date:${date}\n`;
    let names = "host;x-amz-content-sha256;x-amz-date";
    if (contentType !== undefined) {
      headers["content-type"] = contentType;
      lines = `content-type:${contentType}\n${lines}`;
      names = `content-type;${names}`;
    }
    if (sessionToken !== undefined) {
      headers["x-amz-security-token"] = sessionToken;
      lines += `x-amz-security-token:${sessionToken}\n`;
      names += ";x-amz-security-token";
    }
    const canonical = `${method}\n${this.#encoded(path)}\n\n${lines}\n${names}\n${bodyHash}`;
    const scope = `${day}/${this.#region}/${SERVICE}/aws4_request`;
    const toSign = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${sha256(canonical)}`;
    const signature = createHmac("sha256", this.#keyOf(day)).update(toSign).digest("hex");
    headers.authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
    return headers;
  }

  /** A path once more percent-encoded. Of many calls to one stage only the last part differs. */
  #encoded(path: string): string {
    const end = path.lastIndexOf("/") + 1;
    const last = path.slice(end);
    if (last === "" || last === "." || last === "..") return encodedPath(path);
    if (end !== this.#before.length || !path.startsWith(this.#before)) {
      this.#before = path.slice(0, end);
      this.#encodedBefore = encodedPath(this.#before);
    }
    return this.#encodedBefore + encodedPart(last);
  }

  /** Such as `20261125T231500Z`. */
  #dateOf(now: number): string {
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#date = `${new Date(second * 1000).toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;
    }
    return this.#date;
  }

  #keyOf(day: string): KeyObject {
    if (this.#key && day === this.#day) return this.#key;
    const parts = [day, this.#region, SERVICE, "aws4_request"];
    const key = parts.reduce<Buffer>(
      (last, part) => createHmac("sha256", last).update(part).digest(),
      Buffer.from(`AWS4${this.#credentials.secretAccessKey}`),
    );
    this.#day = day;
    this.#key = createSecretKey(key);
    return this.#key;
  }

  #hashOf(body: string): string {
    let hash = this.#bodies.get(body);
    if (hash === undefined) {
      hash = sha256(body);
      this.#bodies.set(body, hash);
      if (this.#bodies.size > KNOWN_BODIES) this.#bodies.delete(this.#bodies.keys().next().value ?? "");
    }
    return hash;
  }
}

function sha256(text: string): string {
  return hash("sha256", text);
}

/** Each part of the path once more percent-encoded, empty parts and dots resolved as AWS does. */
function encodedPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(encodedPart(part));
  }
  const end = parts.length > 0 && path.endsWith("/") ? "/" : "";
  return `/${parts.join("/")}${end}`;
}

/** RFC 3986: everything but letters, digits, `-`, `_`, `.` and `~`. */
function encodedPart(part: string): string {
  // Most are connection ids, encoded once.
  if (/^[A-Za-z0-9_.~%-]*$/.test(part)) return part.replaceAll("%", "%25");
  return encodeURIComponent(part).replace(
    /[!'()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
