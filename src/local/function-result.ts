import { TOKEN } from "./http-headers.ts";

/** What a function gave back, as far as AWS takes it. */
interface FunctionAnswer {
  readonly status: number;
  readonly body: Buffer;
  readonly subprotocol: string | undefined;
}

/** The keys that a result may have; with another one AWS takes all of it for malformed. */
const RESULT_KEYS = new Set(["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"]);

/** Reads a function's result. @returns undefined for one that AWS takes for malformed */
export function functionAnswer(result: unknown): FunctionAnswer | undefined {
  if (typeof result !== "object" || result === null || Array.isArray(result)) return undefined;
  if (Object.keys(result).some((key) => !RESULT_KEYS.has(key))) return undefined;
  const { statusCode, headers, body, isBase64Encoded } = result as Readonly<Record<string, unknown>>;
  if (typeof statusCode !== "number" && typeof statusCode !== "string") return undefined;
  const status = Number(statusCode);
  if (!Number.isInteger(status) || status < 200 || status > 599) return undefined;
  if (body !== undefined && body !== null && typeof body !== "string") return undefined;
  const subprotocol = subprotocolOf(headers);
  if (subprotocol !== undefined && !TOKEN.test(subprotocol)) return undefined;
  const bytes = Buffer.from(body ?? "", isBase64Encoded === true ? "base64" : "utf8");
  return { status, body: bytes, subprotocol };
}

function subprotocolOf(headers: unknown): string | undefined {
  const entries = Object.entries((headers ?? {}) as Readonly<Record<string, unknown>>);
  const value = entries.find(([name]) => name.toLowerCase() === "sec-websocket-protocol")?.[1];
  return typeof value === "string" ? value : undefined;
}
