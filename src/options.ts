import * as v from "valibot";
import { closestMatch } from "./closest-match.ts";
import { ConfigurationError } from "./errors.ts";
import { formatValue, isPlainObject } from "./format-value.ts";

/** A schema for each option of an interface. The compiler reports missing and unknown schemas. */
export type OptionSchemas<Options> = {
  readonly [Name in keyof Options]-?: v.GenericSchema<Options[Name]>;
};

type Parsed<Schemas> = {
  readonly [Name in keyof Schemas]: Schemas[Name] extends v.GenericSchema<unknown, infer Output>
    ? Output
    : never;
};

/**
 * Returns the schema of a plain object that has the given options and no others.
 *
 * The message of a schema is a predicate that follows the option's name, such as "must be true or
 * false". {@link parseOptions} adds the name and the value.
 */
export function optionsOf<Options extends object>() {
  return <const Schemas extends OptionSchemas<Options>>(
    schemas: Schemas,
    /** What to do about names that are not options, such as those of an earlier version. */
    hints: Readonly<Record<string, string>> = {},
  ): v.GenericSchema<Options, Parsed<Schemas>> =>
    v.pipe(
      v.custom<Record<string, unknown>>(isPlainObject, notPlain),
      v.strictObject(schemas as v.ObjectEntries, (issue) => {
        const name = String(issue.path?.at(-1)?.key);
        if (issue.expected !== "never") return `is missing. It ${predicateOf(schemas, name)}.`;
        const hint = Object.hasOwn(hints, name)
          ? ` ${hints[name]}`
          : closestMatch(name, Object.keys(schemas));
        return `is not an option.${hint || ` The options are: ${Object.keys(schemas).join(", ")}.`}`;
      }),
    ) as never;
}

/** A string is not repeated in the message, because it may be a secret. */
function notPlain({ input }: v.BaseIssue<unknown>): string {
  return `must be a plain object, but received ${typeof input === "string" ? "a string" : formatValue(input)}.`;
}

/**
 * Validates the options of a function and adds their defaults.
 *
 * @param owner the first word of each message, such as `createSallyport()` or `ChatView`
 * @throws ConfigurationError with the name of the option, its value and what to change
 */
export function parseOptions<Options, Output>(
  owner: string,
  schema: v.GenericSchema<Options, Output>,
  options: unknown,
): Output {
  const result = v.safeParse(schema, options);
  if (result.success) return result.output;
  // A misspelled name explains why another option is missing, so it is reported first.
  const issue = result.issues.find(({ expected }) => expected === "never") ?? result.issues[0];
  throw new ConfigurationError(`${owner}: ${sentenceOf(issue)}`);
}

function sentenceOf({ input, message, path: given }: v.BaseIssue<unknown>): string {
  const path: readonly v.IssuePathItem[] = given ?? [];
  const name = pathName(path);
  // The message is complete: an unknown or missing option, or a value that must not be repeated.
  if (/[.?]$/.test(message)) return `${name || "the options"} ${message}`;
  if (path.at(-1)?.origin === "key") {
    return `the key ${JSON.stringify(path.at(-1)?.key)} of ${pathName(path.slice(0, -1))} ${message}.`;
  }
  if (input === undefined && path.at(-1)?.type === "array") {
    return `${name} is undefined. It ${message}. Check the spelling of the name that should contain it.`;
  }
  if (input === undefined && name) {
    return `${name} is undefined. It ${message}. Give it a value, or leave it out if it is optional.`;
  }
  return `${name || "the options"} ${message}, but received ${formatValue(input)}.`;
}

/**
 * Returns the path of a value in an object, such as `token.binding`, `origins[2]` or `routes["a
 * b"]`.
 */
export function pathName(path: readonly { readonly key?: unknown }[]): string {
  let name = "";
  for (const { key } of path) {
    if (typeof key === "number") name += `[${key}]`;
    else if (typeof key === "string" && /^[\w$]+$/.test(key)) name += name ? `.${key}` : key;
    else name += `[${JSON.stringify(String(key))}]`;
  }
  return name;
}

/** Returns what a missing option must be, such as "must be true or false". */
function predicateOf(schemas: object, name: string): string {
  const { message } = (schemas as Record<string, { readonly message?: unknown }>)[name] ?? {};
  return typeof message === "string" ? message : "must be given";
}

/** Accepts `true` and `false`. A text such as "no" is rejected, because it would count as true. */
export const booleanOption = v.boolean("must be true or false");

/** Accepts one of the given texts. */
export function choiceOption<const Choice extends string>(...choices: readonly [Choice, ...Choice[]]) {
  return v.picklist(choices, `must be ${choices.map((choice) => `"${choice}"`).join(" or ")}`);
}

/** Accepts a text that matches a pattern. `words` completes "must be …". */
export function textOption(form: RegExp, words: string) {
  const message = `must be ${words}`;
  return v.pipe(v.string(message), v.regex(form, message));
}

/** Accepts a whole number from `min` to `max`, inclusive. `unit` is a plural, such as "seconds". */
export function wholeNumberOption(min: number, max = Number.MAX_SAFE_INTEGER, unit = "") {
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  return numberOf(min, max, `must be a whole number${unit && ` of ${unit}`} ${range}`, Number.isInteger);
}

/** Accepts a number from `min` to `max`, inclusive. `words` completes "must be …". */
export function numberOption(min: number, max: number, words: string) {
  return numberOf(min, max, `must be ${words}`, Number.isFinite);
}

/**
 * Accepts a number that is valid, or `false` for no limit. `words` completes "must be …, or false
 * for no limit".
 */
export function limitOption(isValid: (value: number) => boolean, words: string) {
  return v.custom<number | false>(
    (value) => value === false || (typeof value === "number" && isValid(value)),
    `must be ${words}, or false for no limit`,
  );
}

/** Accepts the number of events that a limit allows per minute. 0 allows none. */
export const perMinuteOption = limitOption(
  (value) => Number.isSafeInteger(value) && value >= 0,
  "a whole number per minute of at least 0",
);

/**
 * Accepts the number that a limit allows at the same time. `unit` is a plural, such as
 * "connections".
 */
export function atOnceOption(unit: string) {
  return limitOption(
    (value) => Number.isSafeInteger(value) && value >= 0,
    `a whole number of ${unit} of at least 0`,
  );
}

function numberOf(min: number, max: number, message: string, isKind: (value: number) => boolean) {
  return v.pipe(
    v.number(message),
    v.check((value) => isKind(value) && value >= min && value <= max, message),
  );
}

/**
 * Accepts a plain object with any keys. A Map or an array is rejected.
 *
 * Unlike `v.record()` of valibot, it keeps keys such as `constructor`, because they are valid
 * names.
 */
export function recordOption<Value, Parsed>(
  key: v.GenericSchema<string>,
  value: v.GenericSchema<Value, Parsed>,
  words: string,
): v.GenericSchema<Readonly<Record<string, Value>>, Readonly<Record<string, Parsed>>> {
  return v.pipe(
    v.custom<Record<string, Value>>(isPlainObject, `must be ${words}`),
    v.rawTransform(({ dataset: { value: record }, addIssue }) => {
      const parsed = Object.entries(record).map(([name, given]) => {
        const item = { type: "object", input: record, key: name, value: given } as const;
        const check = (schema: v.GenericSchema<never, unknown>, input: unknown, origin: "key" | "value") => {
          const result = v.safeParse(schema, input);
          for (const issue of result.issues ?? []) {
            const path = [{ ...item, origin }, ...(issue.path ?? [])] as [
              v.IssuePathItem,
              ...v.IssuePathItem[],
            ];
            addIssue({
              message: issue.message,
              input: issue.input,
              expected: issue.expected ?? undefined,
              path,
            });
          }
          return result.output;
        };
        check(key as never, name, "key");
        return [name, check(value as never, given, "value") as Parsed] as const;
      });
      return Object.fromEntries(parsed);
    }),
  );
}

/**
 * The latest instant that a Date can represent, in epoch milliseconds.
 * Source: ECMAScript, "Time Values and Time Range".
 */
const MAX_INSTANT = 8.64e15;

/** Accepts a Date or epoch milliseconds. The output is in epoch milliseconds. */
export const instantOption = v.pipe(
  v.custom<number | Date>((value) => {
    const at = typeof value === "number" || value instanceof Date ? Number(value) : Number.NaN;
    return Number.isInteger(at) && Math.abs(at) <= MAX_INSTANT;
  }, "must be a Date or a whole number of epoch milliseconds"),
  v.transform(Number),
);

/** Accepts a value that a text column is compared with. PostgreSQL cannot store NUL in text. */
export const searchedText = v.custom<string>(
  (value) => typeof value === "string" && !value.includes("\0"),
  "must be a string without NUL",
);

/**
 * Accepts the name of a group to filter by. The output is normalized to NFC, as stored names are.
 */
export const searchedGroup = v.pipe(
  searchedText,
  v.transform((name) => name.normalize("NFC")),
);

/** Accepts the maximum number of rows of a list, from 1 to 1000. Default 100. */
export const rowLimit = v.optional(wholeNumberOption(1, 1000, "rows"), 100);

/**
 * Accepts a function. `purpose` follows "must be a function", such as "that returns the user of a
 * request".
 */
export function functionOption<Type>(purpose = "") {
  return v.custom<Type>(
    (value) => typeof value === "function",
    `must be a function${purpose && ` ${purpose}`}`,
  );
}

/** Accepts an object with the given methods. `words` completes "must be …". */
export function objectWith<Type extends object>(
  methods: readonly (keyof Type & string)[],
  words: string,
  optional: readonly (keyof Type & string)[] = [],
) {
  return v.custom<Type>((value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    const given = value as Readonly<Record<string, unknown>>;
    return (
      methods.every((name) => typeof given[name] === "function") &&
      optional.every((name) => given[name] === undefined || typeof given[name] === "function")
    );
  }, `must be ${words}`);
}
