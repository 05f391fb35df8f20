import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { ConfigurationError } from "../errors.ts";
import { checkShape, type Shape } from "./shape.ts";
import { decoded, encoded, splitUrl } from "./url.ts";

/** The credentials of Management API calls, and of connects if `$connect` requires a signature. */
export interface SigningCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The region of the APIs. Default: the region in the signature, so every region is accepted. */
  readonly region?: string;
}

const CREDENTIALS = {
  accessKeyId: "text",
  secretAccessKey: "text",
  region: "text",
} as const satisfies Shape<SigningCredentials>;

/** @throws ConfigurationError for incomplete credentials */
export function checkCredentials(credentials: SigningCredentials): void {
  // The AWS SDK adds its own properties to credentials, which would be unknown options.
  const { accessKeyId, secretAccessKey, region } = credentials;
  checkShape("credentials", { accessKeyId, secretAccessKey, region }, CREDENTIALS);
  if (accessKeyId && secretAccessKey) return;
  throw new ConfigurationError(
    "credentials are not complete. Write: credentials: { accessKeyId, secretAccessKey }.",
  );
}

/**
 * The maximum difference between the time of a signature and the clock, in milliseconds. Source:
 * AWS, "Signature Version 4".
 */
const MAX_SKEW_MS = 5 * 60_000;

/**
 * The maximum validity of a signature in a query, in seconds. Source: AWS, "Signature Version 4".
 */
const MAX_EXPIRY_SECONDS = 7 * 24 * 60 * 60;

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

const CREDENTIAL = /^([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request$/;

/** The signature of a request, and what it claims to cover. */
interface Claim {
  /** Key id, day, region and service, separated by slashes. */
  readonly credential: string;
  /** The value of `X-Amz-Date`. */
  readonly time: string;
  /** The validity from that time on, in milliseconds. */
  readonly validMs: number;
  /** Header names, separated by semicolons. */
  readonly signedHeaders: string;
  readonly mustBeSigned: readonly string[];
  readonly signature: string;
}

/**
 * Checks the Signature Version 4 of a request, in its headers or in its query, as IAM does for
 * `execute-api`. Each path segment is encoded once more in the signed text.
 *
 * Source: AWS, "Create a signed AWS API request".
 *
 * @param data the body, or undefined if it was too large. The hash in the header is then used
 * @returns the message of AWS, or undefined for a valid signature
 */
export function checkSignature(
  request: IncomingMessage,
  data: Buffer | undefined,
  credentials: SigningCredentials,
): string | undefined {
  const { headers, method = "", url = "" } = request;
  const { path, query } = splitUrl(url);
  const claim = claimOfHeaders(headers) ?? claimOfQuery(query);
  const [, keyId, day = "", region = "", service = ""] = CREDENTIAL.exec(claim?.credential ?? "") ?? [];
  if (!claim || keyId === undefined) return "Missing Authentication Token";
  if (keyId !== credentials.accessKeyId) return "The security token included in the request is invalid.";
  if (service !== "execute-api") return `Credential should be scoped to correct service: 'execute-api'.`;
  if (credentials.region !== undefined && region !== credentials.region)
    return `Credential should be scoped to a valid region, not '${region}'.`;
  const { time, signedHeaders } = claim;
  const ageMs = Date.now() - instantOf(time);
  if (!time.startsWith(day) || !(ageMs >= -MAX_SKEW_MS && ageMs <= claim.validMs))
    return "Signature expired or not yet current.";
  const names = signedHeaders.split(";");
  if (!claim.mustBeSigned.every((name) => names.includes(name)))
    return `'${claim.mustBeSigned.join("' and '")}' must be signed.`;
  const canonical = [
    method,
    path.split("/").map(encoded).join("/"),
    canonicalQuery(query),
    ...names.map((name) => `${name}:${canonicalValue(headers[name])}`),
    "",
    signedHeaders,
    data === undefined ? String(headers["x-amz-content-sha256"] ?? "") : sha256(data),
  ].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical)].join("\n");
  const key = [day, region, service, "aws4_request"].reduce(
    (derived: string | Buffer, part) => createHmac("sha256", derived).update(part).digest(),
    `AWS4${credentials.secretAccessKey}`,
  );
  const expected = createHmac("sha256", key).update(text).digest();
  if (timingSafeEqual(expected, Buffer.from(claim.signature, "hex"))) return undefined;
  return "The request signature we calculated does not match the signature you provided.";
}

function claimOfHeaders(headers: IncomingHttpHeaders): Claim | undefined {
  const [, credential, signedHeaders, signature] = AUTHORIZATION.exec(headers.authorization ?? "") ?? [];
  if (credential === undefined || signedHeaders === undefined || signature === undefined) return undefined;
  const time = String(headers["x-amz-date"] ?? "");
  return {
    credential,
    time,
    validMs: MAX_SKEW_MS,
    signedHeaders,
    mustBeSigned: ["host", "x-amz-date"],
    signature,
  };
}

function claimOfQuery(query: string): Claim | undefined {
  const parameters = new URLSearchParams(query);
  const parameter = (name: string) => parameters.get(`X-Amz-${name}`) ?? "";
  const expirySeconds = Number(parameter("Expires"));
  if (parameter("Algorithm") !== "AWS4-HMAC-SHA256") return undefined;
  if (!/^[0-9a-f]{64}$/.test(parameter("Signature"))) return undefined;
  if (!(expirySeconds >= 1 && expirySeconds <= MAX_EXPIRY_SECONDS)) return undefined;
  return {
    credential: parameter("Credential"),
    time: parameter("Date"),
    validMs: expirySeconds * 1000,
    signedHeaders: parameter("SignedHeaders"),
    mustBeSigned: ["host"],
    signature: parameter("Signature"),
  };
}

/** Parses a time such as `20261123T235800Z` to epoch milliseconds. Returns NaN for another form. */
function instantOf(time: string): number {
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time) ?? [];
  const [year = Number.NaN, month = 1, date, hour, minute, second] = parts.map(Number);
  return Date.UTC(year, month - 1, date, hour, minute, second);
}

function canonicalValue(value: string | readonly string[] | undefined): string {
  return String(value ?? "")
    .trim()
    .replace(/ +/g, " ");
}

/**
 * Returns the query in the form that is signed, without the signature itself.
 *
 * Parameters are encoded as signers do, and sorted by name and then by value. Sorting whole pairs
 * would be wrong, because "=" is greater than some characters of names.
 */
function canonicalQuery(query: string): string {
  const canonical = (text: string) => encoded(decoded(text));
  const pairs = query
    .split("&")
    .filter(Boolean)
    .map((pair) => {
      const [name = "", ...value] = pair.split("=");
      return { name: canonical(name), value: canonical(value.join("=")) };
    })
    .filter(({ name }) => name !== "X-Amz-Signature");
  const order = (one: string, other: string) => (one === other ? 0 : one < other ? -1 : 1);
  return pairs
    .sort((one, other) => order(one.name, other.name) || order(one.value, other.value))
    .map(({ name, value }) => `${name}=${value}`)
    .join("&");
}

function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}
