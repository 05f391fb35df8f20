/**
 * Characters that a reader does not see, or that change how a terminal or an editor shows the text around them: control characters
 * (C0, C1), format characters (bidirectional controls, zero-width characters, tags), half surrogate pairs, and line separators.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const ALL_BUT_LINES = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Returns a text on one line, in which each character that cannot be seen is written as `\u001b`.
 *
 * Names and messages come from clients, and end in logs and terminals. JSON stays the same JSON.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escaped);
}

/** Does the same for a text of several lines, such as a stack: line feeds and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(ALL_BUT_LINES, escaped);
}

/** Characters outside of the basic plane have two code units, as in JSON. */
function escaped(character: string): string {
  let text = "";
  for (let index = 0; index < character.length; index++) {
    text += `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`;
  }
  return text;
}
