import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { DecisionContext } from "../audit/decision.ts";
import { BadRequestError, ForbiddenError, malformedRequest, type RequestError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { numberSource } from "../protocol/body.ts";
import { PING_TYPE } from "../protocol/frames.ts";
import type { MountedHandler, MountedView } from "../views/mount.ts";

/** Maximum number of schema errors that are reported. A hostile message can cause one per byte. */
const MAX_ISSUES = 5;

/**
 * Returns whether the message is a ping of the client library.
 *
 * A message with a field that names a handler is a message of the app, even if its `type` is that
 * of a ping.
 */
export function isPing(view: MountedView, frame: Readonly<Record<string, unknown>>): boolean {
  return frame.type === PING_TYPE && !Object.hasOwn(frame, view.handlerKey);
}

/** Returns the handler that the message names in the field `handlerKey`, or else in `routeKey`. */
export function handlerFor(
  view: MountedView,
  frame: Readonly<Record<string, unknown>>,
  context: DecisionContext,
): MountedHandler {
  const key = Object.hasOwn(frame, view.handlerKey) ? view.handlerKey : view.routeKey;
  if (!Object.hasOwn(frame, key)) {
    throw malformedRequest(
      `The message must contain "${view.handlerKey}" or "${view.routeKey}" with the name of a handler. Add one of them.`,
    );
  }
  const name = frame[key];
  if (typeof name !== "string")
    throw malformedRequest(
      `"${key}" must be the name of a handler, but is of type ${typeof name}. Send a string.`,
    );
  context.handler = name.slice(0, 200);
  const handler = view.handlers.get(name);
  if (!handler) {
    const declared = [...view.handlers.keys()].join(", ") || "none";
    throw new ForbiddenError(
      `${view.name} has no handler ${JSON.stringify(context.handler)} that clients can call. Call one of: ${declared}.`,
      { reason: "handler" },
    );
  }
  return handler;
}

/** Returns the fields of a message without those that select the handler or identify the call. */
export function payloadOf(
  view: MountedView,
  frame: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const payload: Record<string, unknown> = {};
  for (const key of Object.keys(frame)) {
    if (view.reservedFields.has(key)) continue;
    // An assignment to a key such as __proto__ would call a setter.
    if (key in payload) Object.defineProperty(payload, key, { value: frame[key], ...PLAIN });
    else payload[key] = frame[key];
  }
  return payload;
}

const PLAIN = { writable: true, enumerable: true, configurable: true };

/** Returns the validated body of a message. @throws RequestError with 400 if it does not match the schema */
export async function checkedBody(
  view: MountedView,
  name: string,
  schema: StandardSchemaV1,
  payload: unknown,
): Promise<unknown> {
  const result = await schema["~standard"].validate(payload);
  if (!result.issues) return result.value;
  const issues = result.issues.slice(0, MAX_ISSUES);
  const issueTexts = issues.map((issue) => issue.message.slice(0, 200)).join(" ");
  const paths = issues.map((issue) => issue.path?.map(segmentName).join(".") || "body").join(", ");
  const reserved = issues
    .map((issue) => segmentName(issue.path?.[0] ?? ""))
    .find((field) => view.reservedFields.has(field));
  const advice =
    reserved === undefined
      ? "Send a message that matches it."
      : `The message itself uses the field "${reserved}", so it is not part of the body. Rename the field in the schema.`;
  const explanation = `The message does not match the schema of ${name} at ${paths.slice(0, 500)}: ${issueTexts.replace(/\.$/, "")}. ${advice}`;
  throw new BadRequestError(explanation, { reason: "invalid", clientMessage: issueTexts });
}

function segmentName(part: PropertyKey | StandardSchemaV1.PathSegment): string {
  return String(typeof part === "object" ? part.key : part);
}

/** Maximum length of the id of a call, in characters. */
const MAX_CALL_ID = 128;

/**
 * Checks the id of a call.
 *
 * The answer repeats the id, so a number that would be written differently there is rejected.
 *
 * @param json the message as it arrived
 * @throws RequestError with status 400 if the id is invalid
 */
export function callId(id: unknown, json: string): string | number {
  if (typeof id === "string" && id.length <= MAX_CALL_ID) return id;
  if (typeof id === "number") {
    const source = numberSource(json, "id");
    if (Math.abs(id) <= Number.MAX_SAFE_INTEGER && String(id) === source) return id;
    throw badCallId(`${source?.slice(0, MAX_CALL_ID)}, which the answer could not repeat exactly`);
  }
  throw badCallId(typeof id === "string" ? `a text of ${id.length} characters` : formatValue(id));
}

function badCallId(received: string): RequestError {
  const rule =
    `The id of a call must be text of at most ${MAX_CALL_ID} characters, or a number from -(2^53 - 1) to 2^53 - 1 in its ` +
    "shortest form. Use text for anything else.";
  return malformedRequest(`The id of the call is ${received}. ${rule}`, rule);
}

/** Returns the id of a call, or `undefined` if an answer cannot repeat it. */
export function knownCallId(id: unknown, json: string): string | number | undefined {
  try {
    return callId(id, json);
  } catch {
    return undefined;
  }
}
