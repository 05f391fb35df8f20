import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { booleanOption, functionOption, optionsOf, parseOptions, recordOption } from "../options.ts";
import { INTEGRATION_TIMEOUT_MS, MIN_INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";

/** The kind of an option's value. */
type Kind = keyof typeof KINDS;

/** The kind of each option of an object. The compiler reports an option without a kind. */
export type Shape<Options> = Readonly<Record<keyof Options, Kind>>;

/** An object of any class, because a clock is an instance of a class. */
const OBJECT = v.custom<object>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "must be an object",
);
const TEXTS = v.array(v.string("must be a string"), "must be an array of strings");

const KINDS = {
  text: v.string("must be a string"),
  number: v.number("must be a number"),
  boolean: booleanOption,
  function: functionOption(),
  object: OBJECT,
  "object of texts": recordOption(v.string(), v.string("must be a string"), "an object of strings"),
  "object of objects": recordOption(v.string(), OBJECT, "an object of objects"),
  list: v.array(v.unknown(), "must be an array"),
  "list of texts": TEXTS,
  "text or list of texts": v.union([v.string(), TEXTS], "must be a string or an array of strings"),
  "number or function": v.union([v.number(), functionOption()], "must be a number or a function"),
  "text or bytes": v.union([v.string(), v.instance(Uint8Array)], "must be a string or bytes"),
};

/**
 * Names that AWS uses for options that the emulator does not have, or that have another name here.
 */
const AWS_NAMES: Readonly<Record<string, string>> = {
  modelSelectionExpression: "The emulator has no models: AWS uses them for other types of integrations.",
  requestModels: "The emulator has no models: AWS uses them for other types of integrations.",
  requestTemplates: "The emulator has no templates: AWS uses them for other types of integrations.",
  templateSelectionExpression:
    "The emulator has no templates: AWS uses them for other types of integrations.",
  passthroughBehavior: "The emulator has no templates: AWS uses them for other types of integrations.",
  contentHandlingStrategy:
    "The emulator does not convert content: a backend receives the text of the message.",
  connectionType: "The emulator has no VPC links: it calls a backend from this machine.",
  connectionId: "The emulator has no VPC links: it calls a backend from this machine.",
  tlsConfig: "Node.js verifies the certificate of a backend.",
  credentialsArn: "The emulator has no roles.",
  routeResponseSelectionExpression: "Write routeResponse: true, which replaces both settings of AWS.",
  authorizationType: 'Write authorization: { type: "CUSTOM", handler } or { type: "AWS_IAM" }.',
  authorizerId: 'Write authorization: { type: "CUSTOM", handler }.',
  authorizerUri: "Write handler: a function in this process.",
  integrationUri: "Write uri.",
  integrationMethod: "Write method.",
  timeoutInMillis: "Write timeoutMs.",
  defaultRouteSettings: "Write throttling: { ratePerSecond, burst }.",
  throttlingRateLimit: "Write ratePerSecond.",
  throttlingBurstLimit: "Write burst.",
  stageVariables: "Write variables.",
  accessLogSettings: "The emulator has no access logs.",
};

const SCHEMAS = new WeakMap<object, v.GenericSchema>();

/** Checks options. @throws ConfigurationError for an unknown option, or a value of another kind */
export function checkShape(where: string, options: unknown, shape: Readonly<Record<string, Kind>>): void {
  let schema = SCHEMAS.get(shape);
  if (!schema) {
    const schemas = Object.entries(shape).map(([name, kind]) => [name, v.optional(KINDS[kind])]);
    schema = optionsOf<Record<string, unknown>>()(Object.fromEntries(schemas), AWS_NAMES);
    SCHEMAS.set(shape, schema);
  }
  parseOptions(where, schema, options);
}

/**
 * Returns a value, or the first choice if it is undefined.
 *
 * @throws ConfigurationError for a value that is not one of the choices
 */
export function checkedChoice<Choice extends string>(
  name: string,
  value: Choice | undefined,
  choices: readonly [Choice, ...Choice[]],
): Choice {
  if (value === undefined) return choices[0];
  if (choices.includes(value)) return value;
  throw new ConfigurationError(
    `${name} must be ${choices.map((choice) => `"${choice}"`).join(" or ")}, but received ${formatValue(value)}.`,
  );
}

/**
 * Returns the time limit of an integration in milliseconds. Default 29 000.
 *
 * @throws ConfigurationError for a value that AWS would reject
 */
export function checkedTimeout(where: string, timeoutMs: number = INTEGRATION_TIMEOUT_MS): number {
  if (timeoutMs >= MIN_INTEGRATION_TIMEOUT_MS && timeoutMs <= INTEGRATION_TIMEOUT_MS) return timeoutMs;
  throw new ConfigurationError(
    `${where}: timeoutMs must be a number of milliseconds from ${MIN_INTEGRATION_TIMEOUT_MS} to ${INTEGRATION_TIMEOUT_MS}, but received ${timeoutMs}.`,
  );
}
