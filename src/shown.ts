/** A value from outside as an error may show it: short, on one line, whatever it is. */
export function shown(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // A circle or a bigint has no JSON.
  }
  text ??= typeof value === "symbol" ? "a symbol" : `${value}`;
  return text.length > 200 ? `${text.slice(0, 200)}… (${text.length} characters)` : text;
}
