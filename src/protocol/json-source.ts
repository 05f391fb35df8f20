const BACKSLASH = 0x5c;
const QUOTE = 0x22;

/**
 * Returns the source text of a number in a JSON object, such as `1e2` or `12345678901234567890`.
 * JSON.parse can change such numbers.
 *
 * @param text a JSON object that JSON.parse accepts
 * @param name the name of the member. Of duplicate members, the last one is used, as in JSON.parse
 * @returns `undefined` if the member is missing or is not a number
 */
export function numberSource(text: string, name: string): string | undefined {
  let source: string | undefined;
  let depth = 0;
  let isName = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) {
      const end = endOfString(text, index);
      if (isName && nameOf(text.slice(index, end)) === name) {
        NUMBER.lastIndex = end;
        source = NUMBER.exec(text)?.[1];
      }
      isName = false;
      index = end - 1;
    } else if (code === 0x7b || code === 0x5b) {
      isName = ++depth === 1;
    } else if (code === 0x7d || code === 0x5d) {
      depth--;
    } else if (code === 0x2c && depth === 1) {
      isName = true;
    }
  }
  return source;
}

const NUMBER = /\s*:\s*(-?[0-9][0-9.eE+-]*)/y;

/** Returns the index after the closing quote. */
function endOfString(text: string, start: number): number {
  let index = start + 1;
  while (text.charCodeAt(index) !== QUOTE) index += text.charCodeAt(index) === BACKSLASH ? 2 : 1;
  return index + 1;
}

function nameOf(quoted: string): string {
  return quoted.includes("\\") ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
}
