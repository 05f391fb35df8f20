import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Permission } from "../access/permissions.ts";
import { ConfigurationError } from "../errors.ts";
import { refuseUnknown } from "../options.ts";
import type { Callable } from "../protocol/contract.ts";
import type { MessageContext, SignedInUser, User } from "./context.ts";
import { type RuleDeclaration, refuseUndefinedRules } from "./rule.ts";

/** A message's fields where no schema was declared: whatever the peer sent, unchecked. */
export type AnyFields = Readonly<Record<string, unknown>>;

/** What `authorize` of a handler is asked with. */
export type HandlerAuthorizeContext<Body = unknown, Sender extends User = User> = Pick<
  MessageContext<Body, Sender>,
  "user" | "session" | "body"
>;

type HandlerRule = Omit<RuleDeclaration, "allowAnonymous">;

type PermissionList = readonly Permission[] | undefined;

/** A handler whose own rule no anonymous user passes is given a user with an id. */
type SenderOf<Any extends PermissionList, All extends PermissionList, SignedIn> = [Any, All] extends [
  undefined,
  undefined,
]
  ? SignedIn extends true
    ? SignedInUser
    : User
  : SignedInUser;

type BodyOf<Schema> = Schema extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<Schema> : AnyFields;
type InputOf<Schema> = Schema extends StandardSchemaV1
  ? StandardSchemaV1.InferInput<Schema>
  : // biome-ignore lint/suspicious/noConfusingVoidType: a call without arguments
    AnyFields | void;

/** What a handler declares of itself, on top of its view's rule. */
export interface HandlerOptions<Schema extends StandardSchemaV1 | undefined, Sender extends User = User>
  extends HandlerRule {
  /** A schema of any Standard Schema library. A message that does not fit gets 400 with the schema's words. */
  readonly body?: Schema | undefined;
  /**
   * Asked last, about the data itself: "may this user touch this object?" Anything but `true` refuses. The user has
   * an id for certain only where the handler has a rule of its own.
   */
  readonly authorize?:
    | ((context: HandlerAuthorizeContext<BodyOf<Schema>, Sender>) => boolean | Promise<boolean>)
    | undefined;
}

const OPTIONS = new Set(["body", "authorize", "permissionsRequired", "allPermissionsRequired", "signedIn"]);

/** A field of a view that a socket may call. Made by {@link handler}; nothing else is reachable from a socket. */
export class Handler<Input = never, Output = unknown> implements Callable<Input, Output> {
  declare readonly "~call"?: { readonly input: Input; readonly output: Output } | undefined;
  readonly options: HandlerOptions<StandardSchemaV1 | undefined>;
  readonly run: (context: MessageContext<never>) => unknown;

  constructor(
    options: HandlerOptions<StandardSchemaV1 | undefined>,
    run: (context: MessageContext<never>) => unknown,
  ) {
    this.options = options;
    this.run = run;
  }
}

/**
 * Makes a field of a view callable from its sockets.
 *
 * @param options the body's schema, and what this handler demands on top of the view's rule
 * @param run gets the checked message; what it returns as JSON is the answer. It may throw `refuse("why")`
 *   (403, generic to the peer) or `invalid("words for the peer")` (400)
 */
export function handler<Output>(
  run: (context: MessageContext<AnyFields>) => Output | Promise<Output>,
): Handler<InputOf<undefined>, Output>;
export function handler<
  Output,
  Schema extends StandardSchemaV1 | undefined = undefined,
  Any extends PermissionList = undefined,
  All extends PermissionList = undefined,
  const SignedIn extends boolean | undefined = undefined,
>(
  options: HandlerOptions<Schema, SenderOf<Any, All, SignedIn>> & {
    readonly permissionsRequired?: Any;
    readonly allPermissionsRequired?: All;
    readonly signedIn?: SignedIn;
  },
  run: (context: MessageContext<BodyOf<Schema>, SenderOf<Any, All, SignedIn>>) => Output | Promise<Output>,
): Handler<InputOf<Schema>, Output>;
export function handler(first: unknown, second?: unknown): Handler<never, unknown> {
  const [options, run] = second === undefined ? [{}, first] : [first, second];
  if (typeof run !== "function" || typeof options !== "object" || options === null) {
    throw new ConfigurationError("handler() takes a function, or options and a function.");
  }
  refuseUnknown("handler()", options, OPTIONS);
  refuseUndefinedRules("handler()", options);
  return new Handler(
    options as HandlerOptions<undefined>,
    run as (context: MessageContext<never>) => unknown,
  );
}
