import { isSecretName, type TextPart } from "./secrets.ts";

/** A token of JSON. A text that was cut can end within a string. */
const TOKEN = /"(?:[^"\\]|\\.)*"?|[{}[\],:]|[^\s{}[\],:"]+/gs;

/** The depth above which JSON is shown without an indent, because its lines would be too long. */
const MAX_DEPTH = 50;

/** The objects of the event of a function that contain headers or a query. */
const SECRET_OBJECTS = new Set([
  "headers",
  "multiValueHeaders",
  "queryStringParameters",
  "multiValueQueryStringParameters",
]);

/** A member of a JSON object. Its value is the text of the value without white space. */
export interface Member {
  readonly name: string;
  readonly value: string;
}

/**
 * Formats JSON with an indent. Only white space changes: large numbers, `1.0` and repeated names are
 * shown as they are. In the event of a function, secret headers and tokens are secret parts.
 *
 * @returns a single part for a text that is not JSON. It is secret if `hasSecrets` is true, because
 *   a text that was cut cannot be searched.
 */
export function jsonParts(text: string, hasSecrets: boolean): readonly TextPart[] {
  const tokens = isJson(text) ? tokensOf(text) : [];
  if (tokens.length > 0 && depthOf(tokens) <= MAX_DEPTH) return new JsonLayout(tokens, hasSecrets).parts();
  return [hasSecrets ? { text, secretName: "the event" } : { text }];
}

/**
 * Returns the members of a JSON object, which can be cut at its end. Returns undefined for any other
 * text.
 */
export function jsonMembers(
  text: string,
): { readonly members: readonly Member[]; readonly isCut: boolean } | undefined {
  const tokens = tokensOf(text);
  if (tokens[0] !== "{") return undefined;
  const members: Member[] = [];
  let next = 1;
  while (next < tokens.length && tokens[next] !== "}") {
    const name = stringOf(tokens[next] ?? "");
    if (name === undefined || tokens[next + 1] !== ":")
      return members.length > 0 ? { members, isCut: true } : undefined;
    const end = endOfValue(tokens, next + 2);
    members.push({ name, value: tokens.slice(next + 2, end).join("") });
    next = tokens[end] === "," ? end + 1 : end;
  }
  return { members, isCut: next >= tokens.length };
}

/** Returns the value of a JSON string, or undefined for another token. */
export function stringOf(token: string): string | undefined {
  if (!token.startsWith('"') || !isJson(token)) return undefined;
  return JSON.parse(token) as string;
}

function tokensOf(text: string): readonly string[] {
  return text.match(TOKEN) ?? [];
}

/** Returns the index after the value that starts at an index. */
function endOfValue(tokens: readonly string[], start: number): number {
  let depth = 0;
  let index = start;
  for (; index < tokens.length; index++) {
    const token = tokens[index] ?? "";
    if (depth === 0 && (token === "," || token === "}" || token === "]")) break;
    depth += depthChange(token);
  }
  return index;
}

function depthOf(tokens: readonly string[]): number {
  let [depth, deepest] = [0, 0];
  for (const token of tokens) {
    depth += depthChange(token);
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

function depthChange(token: string): number {
  if (token === "{" || token === "[") return 1;
  return token === "}" || token === "]" ? -1 : 0;
}

/** Adds an indent to the tokens of valid JSON. */
class JsonLayout {
  readonly #tokens: readonly string[];
  readonly #hasSecrets: boolean;
  readonly #parts: TextPart[] = [];
  #text = "";
  #next = 0;

  constructor(tokens: readonly string[], hasSecrets: boolean) {
    this.#tokens = tokens;
    this.#hasSecrets = hasSecrets;
  }

  parts(): readonly TextPart[] {
    this.#addValue("", false);
    return [...this.#parts, { text: this.#text }];
  }

  /** @param isSecretObject whether the value is an object of headers or of a query */
  #addValue(indent: string, isSecretObject: boolean): void {
    const token = this.#tokens[this.#next++] ?? "";
    this.#text += token;
    if (token !== "{" && token !== "[") return;
    const inner = `${indent}  `;
    for (let isFirst = true; !this.#isAtEnd(); isFirst = false) {
      if (!isFirst) this.#next++;
      this.#text += `${isFirst ? "" : ","}\n${inner}`;
      if (token === "{") this.#addMember(inner, isSecretObject);
      else this.#addValue(inner, false);
    }
    const isEmpty = this.#tokens[this.#next - 1] === token;
    this.#text += `${isEmpty ? "" : `\n${indent}`}${this.#tokens[this.#next++]}`;
  }

  #addMember(indent: string, isSecretObject: boolean): void {
    const key = this.#tokens[this.#next] ?? "";
    const name = stringOf(key) ?? "";
    this.#next += 2;
    this.#text += `${key}: `;
    if (!isSecretObject || !isSecretName(name)) {
      this.#addValue(indent, this.#hasSecrets && SECRET_OBJECTS.has(name));
      return;
    }
    const end = endOfValue(this.#tokens, this.#next);
    const secret = this.#tokens.slice(this.#next, end).join("");
    this.#parts.push({ text: this.#text }, { text: secret, secretName: name });
    this.#text = "";
    this.#next = end;
  }

  #isAtEnd(): boolean {
    const token = this.#tokens[this.#next];
    return token === undefined || token === "}" || token === "]";
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
