/**
 * Returns ` Did you mean "…"?` with the known word that differs least from `word`.
 *
 * @param maxEdits how many letters may differ. Default: a third of the word's letters, at least 2
 * @returns an empty text if no known word is similar enough
 */
export function closestMatch(
  word: string,
  known: Iterable<string>,
  maxEdits = Math.max(2, Math.floor(word.length / 3)),
): string {
  let best: string | undefined;
  let fewest = maxEdits + 1;
  for (const candidate of known) {
    const edits = distance(word.toLowerCase(), candidate.toLowerCase(), fewest);
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best === undefined ? "" : ` Did you mean "${best}"?`;
}

/** Returns the Levenshtein distance of two texts, or `limit` if it is at least that. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length] ?? limit;
}
