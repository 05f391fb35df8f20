import * as gateway from "@aws-sdk/client-apigatewayv2";
import * as lambda from "@aws-sdk/client-lambda";

/** A call that was decoded with the model of AWS. */
export interface Call {
  readonly operation: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly status: number;
  readonly contentType: string;
  /** Returns the body of the answer. */
  readonly encode: (output: unknown) => string;
  /** Returns the headers of the answer. Default: none. */
  readonly headers?: (output: unknown) => Readonly<Record<string, string>>;
}

/** The error that AWS answers. */
export class AwsError extends Error {
  readonly status: number;
  readonly type: string;

  constructor(status: number, type: string, message: string) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

export const badRequest = (message: string) => new AwsError(400, "BadRequestException", message);
export const notFound = (message: string) => new AwsError(404, "NotFoundException", message);
export const conflict = (message: string) => new AwsError(409, "ConflictException", message);
export const tooMany = (message = "Too Many Requests") =>
  new AwsError(429, "TooManyRequestsException", message);

/*
 * The SDK contains the models as values. A structure is [3, namespace, name, traits, members, their
 * schemas, number of required members]. An operation is [9, namespace, name, { http: [method, path,
 * status] }, input, output]. The schema of a member is a number for simple types, with upper bits
 * for a list (64) or a map (128). Otherwise it is a list, or a function that returns one. With
 * traits, it is a pair of schema and traits.
 */
type Schema = number | readonly unknown[] | (() => Schema);
type Traits = number | Readonly<Record<string, unknown>>;

interface Operation {
  readonly name: string;
  readonly method: string;
  readonly path: RegExp;
  readonly labels: readonly string[];
  readonly status: number;
  readonly input: Schema;
  readonly output: Schema;
}

const OPERATIONS: readonly Operation[] = [...Object.values(gateway), ...Object.values(lambda)].flatMap(
  (value) => {
    if (!Array.isArray(value) || value[0] !== 9) return [];
    const [, , name, { http }, input, output] = value as unknown as readonly [
      9,
      string,
      string,
      { readonly http: readonly [string, string, number] },
      Schema,
      Schema,
    ];
    const [method, path, status] = http;
    const [pathname = ""] = path.split("?");
    const labels = [...pathname.matchAll(/\{(\w+)\+?\}/g)].map(([, label = ""]) => label);
    const pattern = new RegExp(
      `^${pathname.replace(/\{\w+\}/g, "([^/]+)").replace(/\{\w+\+\}/g, "(.+)")}/?$`,
    );
    return [{ name, method, path: pattern, labels, status, input, output }];
  },
);

/**
 * Decodes a request with the model. Rejects unknown members, wrong types and missing required
 * members.
 */
export function decode(method: string, url: URL, body: string): Call {
  for (const { name, path, labels, status, input, output, ...operation } of OPERATIONS) {
    const values = operation.method === method ? path.exec(url.pathname) : null;
    if (!values) continue;
    const given: Record<string, unknown> = {};
    for (const [index, label] of labels.entries()) given[label] = decodeURIComponent(values[index + 1] ?? "");
    const members = membersOf(input);
    const payload = members.find(({ isPayload }) => isPayload);
    if (payload) given[payload.member] = body;
    const json = body === "" || payload ? {} : (JSON.parse(body) as Record<string, unknown>);
    const rest = new Set(Object.keys(json));
    for (const { member, wireName, query, schema } of members) {
      if (query !== undefined) {
        const texts = url.searchParams.getAll(query);
        if (texts.length > 0) given[member] = isList(schema) ? texts : texts[0];
      } else if (!labels.includes(member) && rest.delete(wireName)) {
        given[member] = read(schema, json[wireName], `${name}.${member}`);
      }
    }
    if (rest.size > 0) throw badRequest(`${name} has no member ${[...rest].join(", ")}`);
    for (const { member, isRequired } of members) {
      if (isRequired && given[member] === undefined) throw badRequest(`Missing required field ${member}`);
    }
    const common = { operation: name, input: given, status, contentType: "application/json" };
    if (payload) return { ...common, ...invocation };
    return { ...common, encode: (value) => JSON.stringify(written(output, value) ?? {}) };
  }
  throw new AwsError(403, "ForbiddenException", `no operation is ${method} ${url.pathname}`);
}

/** An invocation of a function is answered with the payload itself, and with a header for an error. */
const invocation = {
  encode: (output: unknown) => (output as { readonly Payload: string }).Payload,
  headers: (output: unknown): Readonly<Record<string, string>> => {
    const { FunctionError } = output as { readonly FunctionError?: string };
    return FunctionError === undefined ? {} : { "x-amz-function-error": FunctionError };
  },
};

interface Member {
  readonly member: string;
  readonly schema: Schema;
  readonly wireName: string;
  readonly query: string | undefined;
  readonly isRequired: boolean;
  /** Whether the member is the whole body. */
  readonly isPayload: boolean;
}

function membersOf(schema: Schema): readonly Member[] {
  const resolved = resolve(schema);
  if (!Array.isArray(resolved) || resolved[0] !== 3) return [];
  const [, , , , names = [], schemas = [], required = 0] = resolved as unknown as readonly [
    3,
    string,
    string,
    Traits,
    (readonly string[])?,
    (readonly (Schema | readonly [Schema, Traits])[])?,
    number?,
  ];
  return names.map((member, index) => {
    const given = schemas[index] ?? 0;
    const isPair = Array.isArray(given) && given.length === 2;
    const [of, traits] = isPair ? (given as unknown as readonly [Schema, Traits]) : [given as Schema, 0];
    const { jsonName, httpQuery } = (typeof traits === "object" ? traits : {}) as Record<string, string>;
    return {
      member,
      schema: of,
      wireName: jsonName ?? member,
      query: httpQuery,
      isRequired: index < required,
      // A bit of the traits means `httpPayload`.
      isPayload: typeof traits === "number" && (traits & 16) !== 0,
    };
  });
}

function resolve(schema: Schema): number | readonly unknown[] {
  if (typeof schema === "function") return resolve(schema());
  // With traits, as the schemas in lists and maps.
  return Array.isArray(schema) && schema.length === 2 ? resolve(schema[0] as Schema) : schema;
}

function isList(schema: Schema): boolean {
  const resolved = resolve(schema);
  return typeof resolved === "number" ? (resolved & 64) !== 0 : resolved[0] === 1;
}

const TYPES = ["string", "number", "boolean"] as const;

function read(schema: Schema, value: unknown, where: string): unknown {
  const resolved = resolve(schema);
  if (value === null) return undefined;
  if (typeof resolved === "number") {
    const of = resolved & 63;
    if (resolved & 64) return array(value, where).map((item) => read(of, item, where));
    if (resolved & 128) return mapped(value, where, (item) => read(of, item, where));
    const type = TYPES[of];
    if (type !== undefined && typeof value !== type) throw badRequest(`${where} is a ${type}`);
    return value;
  }
  const [kind, , , , of] = resolved as readonly [number, string, string, Traits, Schema];
  // A simple type with a name, such as the bytes of an archive.
  if (kind === 0) return read(of, value, where);
  if (kind === 1) return array(value, where).map((item) => read(of, item, where));
  if (kind === 2) return mapped(value, where, (item) => read((resolved[5] ?? 0) as Schema, item, where));
  const rest = new Set(Object.keys(object(value, where)));
  const result: Record<string, unknown> = {};
  for (const { member, wireName, schema: inner } of membersOf(resolved)) {
    if (rest.delete(wireName)) {
      result[member] = read(inner, (value as Record<string, unknown>)[wireName], `${where}.${member}`);
    }
  }
  if (rest.size > 0) throw badRequest(`${where} has no member ${[...rest].join(", ")}`);
  return result;
}

function written(schema: Schema, value: unknown): unknown {
  const resolved = resolve(schema);
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) {
    const of = typeof resolved === "number" ? resolved & 63 : ((resolved[4] ?? 0) as Schema);
    return value.map((item) => written(of, item));
  }
  if (typeof value !== "object" || value === null) return value;
  const members = membersOf(resolved);
  if (members.length === 0) {
    const of = typeof resolved === "number" ? resolved & 63 : ((resolved[5] ?? 0) as Schema);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, written(of, item)]));
  }
  const entries = members.map(({ member, wireName, schema: inner }) => {
    return [wireName, written(inner, (value as Record<string, unknown>)[member])] as const;
  });
  return Object.fromEntries(entries.filter(([, item]) => item !== undefined));
}

function array(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw badRequest(`${where} is a list`);
}

function object(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw badRequest(`${where} is a structure`);
}

function mapped(value: unknown, where: string, of: (item: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object(value, where)).map(([key, item]) => [key, of(item)]));
}
