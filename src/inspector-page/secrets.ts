/** A part of a text. A secret part is hidden until the user shows it. */
export interface TextPart {
  readonly text: string;
  /** What a secret is, such as "ws_token". Undefined for a part that is not secret. */
  readonly secretName?: string;
}

/** Returns whether the value of a header or parameter is a secret, by its name. */
export function isSecretName(name: string): boolean {
  return /secret|authorization|cookie|token/i.test(name);
}

/** Splits a URL, so that the values of secret parameters are secret parts, such as `ws_token`. */
export function urlParts(url: string): readonly TextPart[] {
  const parts: TextPart[] = [];
  let end = 0;
  for (const match of url.matchAll(/[?&]([^=&#]+)=([^&#]+)/g)) {
    const [all, encodedName = "", value = ""] = match;
    const name = decoded(encodedName);
    if (!isSecretName(name)) continue;
    const start = match.index + all.length - value.length;
    parts.push({ text: url.slice(end, start) }, { text: value, secretName: name });
    end = start + value.length;
  }
  return [...parts, { text: url.slice(end) }].filter(({ text }) => text !== "");
}

/** Marks the place of a secret in JSON. The character is for private use, and texts lose it. */
const MARK = "\uE000";

/** The objects of the event of a function that contain headers or a query. */
const SECRET_OBJECTS = new Set([
  "headers",
  "multiValueHeaders",
  "queryStringParameters",
  "multiValueQueryStringParameters",
]);

/**
 * Formats JSON with an indent. In the event of a function, secret headers and tokens are secret parts.
 *
 * @returns a single part for a text that is not JSON. It is secret if `hasSecrets` is true, because
 *   a text that was cut cannot be searched.
 */
export function jsonParts(text: string, hasSecrets: boolean): readonly TextPart[] {
  const value = parsed(text);
  if (value === undefined) return [hasSecrets ? { text, secretName: "the event" } : { text }];
  if (!hasSecrets) return [{ text: JSON.stringify(value, undefined, 2) }];
  const secrets: TextPart[] = [];
  return JSON.stringify(withoutSecrets(value, secrets, false), undefined, 2)
    .split(new RegExp(`"${MARK}(\\d+)${MARK}"`))
    .map((part, index) => (index % 2 === 0 ? { text: part } : (secrets[Number(part)] ?? { text: "" })));
}

/** Replaces each secret by its marked index, and adds it to the list. */
function withoutSecrets(value: unknown, secrets: TextPart[], isSecretObject: boolean): unknown {
  if (typeof value === "string") return value.replaceAll(MARK, "");
  if (Array.isArray(value)) return value.map((member) => withoutSecrets(member, secrets, false));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, member]) => {
    if (!isSecretObject || !isSecretName(name))
      return [name, withoutSecrets(member, secrets, SECRET_OBJECTS.has(name))];
    secrets.push({ text: JSON.stringify(member), secretName: name });
    return [name, `${MARK}${secrets.length - 1}${MARK}`];
  });
  return Object.fromEntries(entries);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
