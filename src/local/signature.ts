import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { ConfigurationError } from "../errors.ts";
import { checkShape, type Shape } from "./shape.ts";
import { decoded, encoded, splitUrl } from "./url.ts";

/** Who may call the Management API, and connect where `$connect` asks for a signature. */
export interface SigningCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of the APIs. Default: whatever a call is signed for. */
  readonly region?: string;
}

const CREDENTIALS = {
  accessKeyId: "text",
  secretAccessKey: "text",
  region: "text",
} as const satisfies Shape<SigningCredentials>;

/** @throws ConfigurationError for credentials that nobody could sign with */
export function checkCredentials(credentials: SigningCredentials): void {
  // AWS's SDK leaves notes of its own on credentials that it is handed.
  const { accessKeyId, secretAccessKey, region } = credentials;
  checkShape("credentials", { accessKeyId, secretAccessKey, region }, CREDENTIALS);
  if (accessKeyId && secretAccessKey) return;
  throw new ConfigurationError(
    "credentials are not complete. Write: credentials: { accessKeyId, secretAccessKey }.",
  );
}

/** How far a signature's time may be from ours, in milliseconds. Source: AWS, "Signature Version 4". */
const MAX_SKEW_MS = 5 * 60_000;

/** How long a signature in a query may hold, in seconds: a week. Source: AWS, "Signature Version 4". */
const MAX_EXPIRY_SECONDS = 7 * 24 * 60 * 60;

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

const CREDENTIAL = /^([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request$/;

/** What a caller says that it has signed. */
interface Claim {
  /** Key, day, region and service, with slashes between. */
  readonly credential: string;
  /** `X-Amz-Date`. */
  readonly time: string;
  /** How long it holds from then on, in milliseconds. */
  readonly holdsMs: number;
  /** With semicolons between. */
  readonly signedHeaders: string;
  readonly mustBeSigned: readonly string[];
  readonly signature: string;
}

/**
 * Judges a request's Signature Version 4, in its headers or in its query, as IAM does for `execute-api`. Each part of the path is encoded once
 * more in what is signed.
 *
 * Source: AWS, "Create a signed AWS API request".
 *
 * @param data the body; undefined where it was too large to be kept, which no signature is checked for
 * @returns what AWS would say, or undefined for a good one
 */
export function judgeSignature(
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
  if (!time.startsWith(day) || !(ageMs >= -MAX_SKEW_MS && ageMs <= claim.holdsMs))
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
    (of: string | Buffer, part) => createHmac("sha256", of).update(part).digest(),
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
    holdsMs: MAX_SKEW_MS,
    signedHeaders,
    mustBeSigned: ["host", "x-amz-date"],
    signature,
  };
}

function claimOfQuery(query: string): Claim | undefined {
  const parameters = new URLSearchParams(query);
  const of = (name: string) => parameters.get(`X-Amz-${name}`) ?? "";
  const expirySeconds = Number(of("Expires"));
  if (of("Algorithm") !== "AWS4-HMAC-SHA256" || !/^[0-9a-f]{64}$/.test(of("Signature"))) return undefined;
  if (!(expirySeconds >= 1 && expirySeconds <= MAX_EXPIRY_SECONDS)) return undefined;
  return {
    credential: of("Credential"),
    time: of("Date"),
    holdsMs: expirySeconds * 1000,
    signedHeaders: of("SignedHeaders"),
    mustBeSigned: ["host"],
    signature: of("Signature"),
  };
}

/** Epoch milliseconds of a time such as `20261123T235800Z`; NaN for what is none. */
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
 * By name, then by value: not by the pair, whose "=" is greater than what may stand in a name. However a client wrote them, each is
 * encoded as signers do; of its own, a query signs all but the signature itself.
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
