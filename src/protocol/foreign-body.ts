/** The most characters of a foreign body that a message repeats. */
const MAX_CHARACTERS = 200;

/** Bytes of a body that suffice for its first 200 characters. */
export const FOREIGN_BODY_BYTES = 4 * MAX_CHARACTERS;

/**
 * Returns the first 200 characters of a response body that is not JSON, such as the page of a proxy or load balancer: quoted, on one line
 * and in ASCII, so that it cannot control a terminal. Returns undefined for JSON and for an empty body.
 *
 * @param body its beginning suffices
 */
export function foreignExcerpt(body: string): string | undefined {
  const text = body.trim();
  if (text === "" || /^[{["]/.test(text)) return undefined;
  const characters = Array.from(text);
  const shown = characters.slice(0, MAX_CHARACTERS).join("");
  const escaped = JSON.stringify(shown).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return characters.length > MAX_CHARACTERS ? `${escaped} …` : escaped;
}
