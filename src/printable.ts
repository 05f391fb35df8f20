/**
 * Characters that are invisible, or that change how a terminal or an editor displays text.
 *
 * - control characters (C0, C1)
 * - format characters: bidirectional controls, zero-width characters, tags
 * - unpaired surrogates
 * - line separators
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const UNPRINTABLE_EXCEPT_LINES =
  /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Returns a text on one line, in which invisible characters are escaped, for example as `\u001b`.
 *
 * Use it for text from clients that is written to logs or terminals. The meaning of JSON does not
 * change.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escapeCharacter);
}

/** Does the same for a text of several lines, such as a stack. Line feeds and tabs are kept. */
export function printableLines(text: string): string {
  return text.replace(UNPRINTABLE_EXCEPT_LINES, escapeCharacter);
}

/** Escapes each UTF-16 code unit, as JSON does. */
function escapeCharacter(character: string): string {
  let text = "";
  for (let index = 0; index < character.length; index++) {
    text += `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`;
  }
  return text;
}
