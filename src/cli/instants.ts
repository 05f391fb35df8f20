import { InvalidArgumentError } from "commander";

const MINUTE_MS = 60_000;
const UNITS: Readonly<Record<string, number>> = {
  m: MINUTE_MS,
  h: 60 * MINUTE_MS,
  d: 24 * 60 * MINUTE_MS,
  w: 7 * 24 * 60 * MINUTE_MS,
};

const FORMS = "Write 30m, 2h, 7d or 4w, or a date such as 2030-12-31 or 2030-12-31T18:00Z (UTC by default).";

/** Parses `--until`, a duration from now or a date in the future, to epoch milliseconds. */
export function parseFutureInstant(text: string): number {
  const instant = instantOf(text, 1);
  if (instant > Date.now()) return instant;
  throw new InvalidArgumentError(`The time has passed. ${FORMS}`);
}

/** Parses `--since`, a duration before now or a date, to epoch milliseconds. */
export function parsePastInstant(text: string): number {
  return instantOf(text, -1);
}

/** Formats epoch milliseconds as `2026-12-31T18:00:00Z`. */
export function formatInstant(instant: number): string {
  const date = new Date(instant);
  if (Number.isNaN(date.valueOf())) return `${instant} ms after 1970`;
  return date.toISOString().replace(/\.\d{3}Z$/, "Z");
}

/** Returns ` until 2026-12-31T18:00:00Z`, or an empty text if there is no end. */
export function formatEnd(until: number | null | undefined): string {
  return until === null || until === undefined ? "" : ` until ${formatInstant(until)}`;
}

function instantOf(text: string, direction: 1 | -1): number {
  const [, count, unit] = /^(\d{1,6})([mhdw])$/.exec(text) ?? [];
  const instant =
    count === undefined ? dateOf(text) : Date.now() + direction * Number(count) * (UNITS[unit ?? ""] ?? 0);
  if (Number.isNaN(instant)) throw new InvalidArgumentError(FORMS);
  return instant;
}

/** Returns epoch milliseconds, or NaN if the text is not a date of the calendar. */
function dateOf(text: string): number {
  const [, day, time = "T00:00", zone = "Z"] =
    /^(\d{4}-\d{2}-\d{2})(T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)?(Z|[+-]\d{2}:\d{2})?$/.exec(text) ?? [];
  const midnight = new Date(`${day}T00:00Z`);
  // Date.parse reads 30 February as 2 March.
  if (Number.isNaN(midnight.valueOf()) || !midnight.toISOString().startsWith(`${day}`)) return Number.NaN;
  return Date.parse(`${day}${time}${zone}`);
}
