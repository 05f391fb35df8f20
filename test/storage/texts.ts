/** Texts that wrong comparisons treat as equal, and texts that break wrong SQL statements. */
export const ALIKE: readonly string[] = [
  "Ann",
  "ann",
  "ANN",
  "ann ",
  " ann",
  "ánn",
  "a\u0301nn",
  "ａｎｎ",
  "Straße",
  "Strasse",
  "İ",
  "I",
  "i",
  "ı",
  "9",
  "09",
  "10",
  "1e1",
  "a_n",
  "a%n",
  "axn",
  "%",
  "_",
  "a\\n",
  "a\\\\n",
  "a\nn",
  "a\tn",
  "o'neil",
  "o''neil",
  'o"neil',
  "?",
  "$1",
  ":id",
  "@id",
  "{}",
  '{"a":1}',
  "[1]",
  "null",
  "NULL",
  "--",
  "/*",
  "zero\u200bwidth",
  "zerowidth",
  "\u2028",
  "\u0001",
  "😀",
  "😁",
  "-",
  "'; drop table sallyport_users; --",
];

/** The texts that are valid user ids. */
export const ALIKE_USERS: readonly string[] = ALIKE.filter(
  (text) => text.trim() !== "" && !/\p{Cc}/u.test(text),
);

/** The texts that are valid group names: without spaces at the ends, in Unicode's composed form. */
export const ALIKE_TRIMMED: readonly string[] = ALIKE_USERS.filter(
  (text) => text.trim() === text && text === text.normalize("NFC"),
);

const FORMS = [
  (n: number) => `${n}`,
  (n: number) => `User-${n}`,
  (n: number) => `user-${n}`,
  (n: number) => `USER_${n}`,
  (n: number) => `üser ${n}`,
  (n: number) => `u\u0308ser ${n}`,
  (n: number) => `%${n}`,
  (n: number) => `'${n}"`,
  (n: number) => `\\${n}`,
  (n: number) => `-${n}`,
  (n: number) => `😀${n}`,
  (n: number) => `ａ${n}`,
] as const;

/** Returns a number of different ids, in forms that databases sort differently. */
export function idsOfAllForms(count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const form = FORMS[index % FORMS.length] as (typeof FORMS)[number];
    return form(Math.floor(index / FORMS.length));
  });
}
