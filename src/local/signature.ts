import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { splitUrl } from "./handshake.ts";

/** Who may call the Management API. */
export interface SigningCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Default: whatever a call is signed for. */
  readonly region?: string;
}

/** How far a signature's time may be from ours, in milliseconds. Source: AWS, "Signature Version 4". */
const MAX_SKEW_MS = 5 * 60_000;

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

/**
 * Judges a call's Signature Version 4, as IAM does for `execute-api`. Each part of the path is encoded once more in what is signed.
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
  const [, keyId, day = "", region = "", service = "", signedHeaders = "", signature = ""] =
    AUTHORIZATION.exec(headers.authorization ?? "") ?? [];
  if (keyId === undefined) return "Missing Authentication Token";
  if (keyId !== credentials.accessKeyId) return "The security token included in the request is invalid.";
  if (service !== "execute-api") return `Credential should be scoped to correct service: 'execute-api'.`;
  if (credentials.region !== undefined && region !== credentials.region)
    return `Credential should be scoped to a valid region, not '${region}'.`;
  const time = String(headers["x-amz-date"] ?? "");
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time) ?? [];
  const [year, month, date, hour, minute, second] = parts.map(Number);
  const at = Date.UTC(year ?? 0, (month ?? 1) - 1, date, hour, minute, second);
  if (!time.startsWith(day) || !(Math.abs(Date.now() - at) <= MAX_SKEW_MS))
    return "Signature expired or not yet current.";
  const names = signedHeaders.split(";");
  if (!names.includes("host") || !names.includes("x-amz-date"))
    return "'host' and 'x-amz-date' must be signed.";
  const body = data === undefined ? String(headers["x-amz-content-sha256"] ?? "") : sha256(data);
  const { path, query } = splitUrl(url);
  const canonical = [
    method,
    path.split("/").map(encoded).join("/"),
    canonicalQuery(query),
    ...names.map(
      (name) =>
        `${name}:${String(headers[name] ?? "")
          .trim()
          .replace(/ +/g, " ")}`,
    ),
    "",
    signedHeaders,
    body,
  ].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical)].join("\n");
  const key = [day, region, service, "aws4_request"].reduce(
    (of: string | Buffer, part) => createHmac("sha256", of).update(part).digest(),
    `AWS4${credentials.secretAccessKey}`,
  );
  const expected = createHmac("sha256", key).update(text).digest();
  if (timingSafeEqual(expected, Buffer.from(signature, "hex"))) return undefined;
  return "The request signature we calculated does not match the signature you provided.";
}

/** By name, then by value: not by the pair, whose "=" is greater than what may stand in a name. */
function canonicalQuery(query: string): string {
  const pairs = query
    .split("&")
    .filter(Boolean)
    .map((pair) => {
      const [name = "", ...value] = pair.split("=");
      return { name, value: value.join("=") };
    });
  const order = (one: string, other: string) => (one === other ? 0 : one < other ? -1 : 1);
  return pairs
    .sort((one, other) => order(one.name, other.name) || order(one.value, other.value))
    .map(({ name, value }) => `${name}=${value}`)
    .join("&");
}

function encoded(part: string): string {
  return encodeURIComponent(part).replace(/[!'()*]/g, (character) => {
    return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  });
}

function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}
