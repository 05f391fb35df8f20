/** Maximum number of characters of a foreign body in an error message. */
const MAX_CHARACTERS = 200;

/** Number of bytes that contain at least the first 200 characters of a body. */
export const FOREIGN_BODY_BYTES = 4 * MAX_CHARACTERS;

/**
 * Returns the first 200 characters of a response body that is not JSON, such as the page of a
 * proxy.
 *
 * The excerpt is quoted, on one line and in ASCII, so that it cannot control a terminal.
 *
 * @param body the start of the body is sufficient
 * @returns `undefined` for JSON and for an empty body
 */
export function foreignExcerpt(body: string): string | undefined {
  const text = body.trim();
  if (text === "" || /^[{["]/.test(text)) return undefined;
  const characters = Array.from(text);
  const excerpt = characters.slice(0, MAX_CHARACTERS).join("");
  const escaped = JSON.stringify(excerpt).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return characters.length > MAX_CHARACTERS ? `${escaped} …` : escaped;
}
