import { createHmac, createSecretKey, hash, type KeyObject } from "node:crypto";

/** AWS credentials, in the format of the AWS SDK. */
export interface AwsCredentials {
  /** Id of the access key. */
  readonly accessKeyId: string;
  /** Secret of the access key. */
  readonly secretAccessKey: string;
  /** Session token of temporary credentials, for example of a role. */
  readonly sessionToken?: string | undefined;
  /** When the credentials expire. Default: never. */
  readonly expiration?: Date | undefined;
}

/** A call to sign, in the exact form in which it is sent. */
export interface SignableCall {
  readonly method: "POST" | "DELETE" | "GET";
  /** Value of the `host` header. It contains the port if that is not the default of the scheme. */
  readonly host: string;
  /** The path that is sent, percent-encoded once and without query. */
  readonly path: string;
  readonly body: string;
  /** Value of the `content-type` header. Default: the header is not sent. */
  readonly contentType?: string | undefined;
}

const SERVICE = "execute-api";
/** Maximum number of cached body hashes. A send has one body for all its recipients. */
const MAX_CACHED_BODIES = 16;

/**
 * Signs calls to the Management API with AWS Signature Version 4.
 *
 * The key per day, the date per second and the hash per body are cached, so a call requires two
 * hashes.
 *
 * Source: AWS, "Create a signed AWS API request". The path is encoded twice, as for every service
 * except S3.
 */
export class Signer {
  readonly #region: string;
  readonly #credentials: AwsCredentials;
  readonly #bodies = new Map<string, string>();
  #day = "";
  #key: KeyObject | undefined;
  #second = 0;
  #date = "";
  #parentPath = "";
  #encodedParentPath = "";

  constructor(region: string, credentials: AwsCredentials) {
    this.#region = region;
    this.#credentials = credentials;
  }

  /**
   * Returns the headers to send.
   *
   * @param now epoch milliseconds of the clock of AWS
   */
  sign(call: SignableCall, now: number): Record<string, string> {
    const { sessionToken, accessKeyId } = this.#credentials;
    const { method, host, path, body, contentType } = call;
    const date = this.#dateOf(now);
    const day = date.slice(0, 8);
    const bodyHash = this.#hashOf(body);
    const headers: Record<string, string> = { host, "x-amz-content-sha256": bodyHash, "x-amz-date": date };
    // The signature requires the headers in alphabetical order.
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

  /** Returns the path percent-encoded again. The part before the last slash is cached. */
  #encoded(path: string): string {
    const end = path.lastIndexOf("/") + 1;
    const last = path.slice(end);
    if (last === "" || last === "." || last === "..") return encodedPath(path);
    if (end !== this.#parentPath.length || !path.startsWith(this.#parentPath)) {
      this.#parentPath = path.slice(0, end);
      this.#encodedParentPath = encodedPath(this.#parentPath);
    }
    return this.#encodedParentPath + encodedPart(last);
  }

  /** Returns the date, such as `20261125T231500Z`. */
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
      if (this.#bodies.size > MAX_CACHED_BODIES) this.#bodies.delete(this.#bodies.keys().next().value ?? "");
    }
    return hash;
  }
}

function sha256(text: string): string {
  return hash("sha256", text);
}

/** Percent-encodes each part of the path again, and resolves empty parts and dots like AWS. */
function encodedPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(encodedPart(part));
  }
  const end = parts.length > 0 && path.endsWith("/") ? "/" : "";
  return `/${parts.join("/")}${end}`;
}

/**
 * Percent-encodes all characters except letters, digits, `-`, `_`, `.` and `~`. Source: RFC 3986.
 */
function encodedPart(part: string): string {
  // Fast path: most parts are connection ids that were encoded once.
  if (/^[A-Za-z0-9_.~%-]*$/.test(part)) return part.replaceAll("%", "%25");
  return encodeURIComponent(part).replace(
    /[!'()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
