import { ConfigurationError } from "../errors.ts";
import { refuseUnknown } from "../options.ts";
import { shown } from "../shown.ts";

/** What an option's value is. */
type Kind = keyof typeof IS;

/** What the options of an object are, all of them by name. */
export type Shape<Options> = Readonly<Record<keyof Options, Kind>>;

const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
const isTexts = (value: unknown) => Array.isArray(value) && value.every((text) => typeof text === "string");

const IS = {
  text: (value: unknown) => typeof value === "string",
  number: (value: unknown) => typeof value === "number",
  boolean: (value: unknown) => typeof value === "boolean",
  function: (value: unknown) => typeof value === "function",
  object: isObject,
  "object of texts": (value: unknown) =>
    isObject(value) && Object.values(value as object).every((text) => typeof text === "string"),
  "object of objects": (value: unknown) => isObject(value) && Object.values(value as object).every(isObject),
  list: Array.isArray,
  "list of texts": isTexts,
  "text or list of texts": (value: unknown) => typeof value === "string" || isTexts(value),
  "number or function": (value: unknown) => typeof value === "number" || typeof value === "function",
  "text or bytes": (value: unknown) => typeof value === "string" || value instanceof Uint8Array,
};

/** Words of AWS's for what is not played here, or has another name. */
const AWS_WORDS: Readonly<Record<string, string>> = {
  modelSelectionExpression: "Models are not played: AWS has them for integrations of other types.",
  requestModels: "Models are not played: AWS has them for integrations of other types.",
  requestTemplates: "Templates are not played: AWS has them for integrations of other types.",
  templateSelectionExpression: "Templates are not played: AWS has them for integrations of other types.",
  passthroughBehavior: "Templates are not played: AWS has them for integrations of other types.",
  contentHandlingStrategy: "Content handling is not played: a backend gets the message's text.",
  connectionType: "VPC links are not played: a backend is called from this machine.",
  connectionId: "VPC links are not played: a backend is called from this machine.",
  tlsConfig: "A backend's certificate is judged as Node does.",
  credentialsArn: "Roles are not played.",
  routeResponseSelectionExpression: "Write routeResponse: true, which stands for both of AWS's settings.",
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
  accessLogSettings: "Logs are not played.",
};

/** @throws ConfigurationError for what is no object, has an option that is not known, or one whose value is of another kind */
export function checkShape(where: string, options: unknown, shape: Readonly<Record<string, Kind>>): void {
  if (!isObject(options)) throw new ConfigurationError(`${where} is to be an object, not ${shown(options)}.`);
  const given = options as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(given)) {
    const said = Object.hasOwn(shape, name) || !Object.hasOwn(AWS_WORDS, name) ? undefined : AWS_WORDS[name];
    if (said !== undefined) throw new ConfigurationError(`${where} has no option "${name}". ${said}`);
  }
  refuseUnknown(where, given, new Set(Object.keys(shape)));
  for (const [name, kind] of Object.entries(shape)) {
    const value = given[name];
    if (value === undefined || IS[kind](value)) continue;
    const article = kind === "object" || kind.startsWith("object ") ? "an" : "a";
    throw new ConfigurationError(`${where}: ${name} is to be ${article} ${kind}, not ${shown(value)}.`);
  }
}

/** @throws ConfigurationError for what is none of the choices */
export function checkedChoice<Choice extends string>(
  name: string,
  value: Choice | undefined,
  choices: readonly [Choice, ...Choice[]],
): Choice {
  if (value === undefined) return choices[0];
  if (choices.includes(value)) return value;
  throw new ConfigurationError(`${name} is "${choices.join('" or "')}", not ${shown(value)}.`);
}
