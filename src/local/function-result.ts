import { TOKEN } from "./http-headers.ts";

/** The parts of a function's result that AWS uses. */
interface FunctionAnswer {
  readonly status: number;
  readonly body: Buffer;
  readonly subprotocol: string | undefined;
}

/** The allowed keys of a result. With another key, AWS treats the whole result as malformed. */
const RESULT_KEYS = new Set(["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"]);

/** Parses the result of a function. @returns undefined if AWS treats it as malformed */
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
