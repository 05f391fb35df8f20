import type { StandardSchemaV1 } from "@standard-schema/spec";
import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { booleanOption, functionOption, optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import { RULE_SCHEMAS, type RuleDeclaration } from "../permissions/rule-options.ts";
import type { Callable } from "../protocol/contract.ts";
import type { MessageContext, SignedInUser, User } from "./context.ts";
import { type HandlerLimits, handlerLimitsSchema } from "./limits.ts";

/** A message's fields where no schema was declared: whatever the peer sent, unchecked. */
export type AnyFields = Readonly<Record<string, unknown>>;

/** What `authorize` of a handler is asked with. */
export type HandlerAuthorizeContext<Body = unknown, CurrentUser extends User = User> = Pick<
  MessageContext<Body, CurrentUser>,
  "user" | "connection" | "body"
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

/** The options of a handler. They apply in addition to the rule of its view. */
export interface HandlerOptions<Schema extends StandardSchemaV1 | undefined, CurrentUser extends User = User>
  extends HandlerRule {
  /** A schema of any Standard Schema library. A message that does not match is rejected with 400 and the schema's messages. */
  readonly body?: Schema | undefined;
  /**
   * Called last, to check the data itself, for example whether the user owns the object. Every result but `true` denies the call. The
   * user is certain to have an id only if the handler has a rule of its own.
   */
  readonly authorize?:
    | ((context: HandlerAuthorizeContext<BodyOf<Schema>, CurrentUser>) => boolean | Promise<boolean>)
    | undefined;
  /** Limits of calls of this handler, in addition to those of its view or of the app. Default: none. */
  readonly limits?: HandlerLimits | undefined;
  /**
   * `false`: a handler that replaces one of a parent class does not keep its rule and its `authorize`. Default true: all of them apply.
   */
  readonly inheritRules?: boolean | undefined;
}

/** The options of any handler, checked. */
export interface ValidHandlerOptions extends HandlerRule {
  readonly body?: StandardSchemaV1;
  readonly authorize?: (context: HandlerAuthorizeContext) => boolean | Promise<boolean>;
  readonly limits?: HandlerLimits;
  readonly inheritRules?: boolean;
}

const HANDLER_OPTIONS = optionsOf<ValidHandlerOptions>()(
  {
    permissionsRequired: RULE_SCHEMAS.permissionsRequired,
    allPermissionsRequired: RULE_SCHEMAS.allPermissionsRequired,
    signedIn: RULE_SCHEMAS.signedIn,
    body: v.exactOptional(
      v.custom<StandardSchemaV1>(
        isStandardSchema,
        "must be a schema of a Standard Schema library, such as Zod, Valibot or ArkType",
      ),
    ),
    authorize: v.exactOptional(
      functionOption<NonNullable<ValidHandlerOptions["authorize"]>>("that returns true or false"),
    ),
    limits: v.exactOptional(handlerLimitsSchema),
    inheritRules: v.exactOptional(booleanOption),
  },
  {
    allowAnonymous:
      "A handler cannot be more open than its view. Set static allowAnonymous = true on the view, and signedIn: true on handlers that need a user.",
  },
);

function isStandardSchema(value: unknown): boolean {
  // Some libraries use functions as schemas.
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return false;
  const { "~standard": standard } = value as Partial<StandardSchemaV1>;
  return typeof standard?.validate === "function";
}

/** @throws ConfigurationError that begins with `owner`, such as `ChatView.send_message` */
export function parseHandlerOptions(owner: string, options: unknown): ValidHandlerOptions {
  return parseOptions(owner, HANDLER_OPTIONS, options);
}

/** The handlers made while {@link recordHandlers} runs. */
let recorded: Handler[] | undefined;

/** Runs `work` and returns the handlers that it makes, in order. */
export function recordHandlers<Result>(work: () => Result): {
  readonly result: Result;
  readonly made: readonly Handler[];
} {
  const outer = recorded;
  const made: Handler[] = [];
  recorded = made;
  try {
    return { result: work(), made };
  } finally {
    recorded = outer;
  }
}

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
  if (typeof run !== "function") {
    throw new ConfigurationError(
      "handler() expects a function, or options and a function: handler({ body: Schema }, async ({ body }) => { … }).",
    );
  }
  // The options are checked when the view is mounted: only then the name of the handler is known.
  const made = new Handler<never, unknown>(
    options as HandlerOptions<undefined>,
    run as (context: MessageContext<never>) => unknown,
  );
  recorded?.push(made);
  return made;
}
