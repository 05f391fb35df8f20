/** Splits a request target into its path and its query, such as "/dev" and "a=1". */
export function splitUrl(url: string): { readonly path: string; readonly query: string } {
  const mark = url.indexOf("?");
  return mark < 0 ? { path: url, query: "" } : { path: url.slice(0, mark), query: url.slice(mark + 1) };
}

/** Decodes percent-encoding. A malformed text is returned unchanged. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Percent-encodes all characters except letters, digits and `-._~`. A half surrogate pair becomes a
 * replacement character, as in UTF-8.
 */
export function encoded(text: string): string {
  const wellFormed = Buffer.from(text, "utf8").toString("utf8");
  return encodeURIComponent(wellFormed).replace(/[!'()*]/g, (character) => {
    return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  });
}
