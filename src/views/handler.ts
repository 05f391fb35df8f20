import type { StandardSchemaV1 } from "@standard-schema/spec";
import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { booleanOption, functionOption, optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import { RULE_SCHEMAS, type RuleDeclaration } from "../permissions/rule-options.ts";
import type { Callable } from "../protocol/contract.ts";
import type { MessageContext, SignedInUser, User } from "./context.ts";
import { type HandlerLimits, handlerLimitsSchema } from "./limits.ts";

/** The fields of a message without a schema. They are not validated. */
export type AnyFields = Readonly<Record<string, unknown>>;

/** The argument of `authorize` of a handler. */
export type HandlerAuthorizeContext<Body = unknown, CurrentUser extends User = User> = Pick<
  MessageContext<Body, CurrentUser>,
  "user" | "connection" | "body"
>;

type HandlerRule = Omit<RuleDeclaration, "allowAnonymous">;

type PermissionList = readonly Permission[] | undefined;

/**
 * The user type of a handler. If the handler requires a permission or `signedIn`, the user has an
 * id.
 */
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

/**
 * Makes a schema with the field `id` a type error. The field contains the id of the call, so it is
 * not part of the body.
 */
type WithoutCallId<Schema> =
  HasCallId<InputOf<Schema>> extends true
    ? {
        readonly body: 'The field "id" of a message contains the id of the call. Rename the field in the schema.';
      }
    : unknown;

/** Whether one of the types of an input declares the field `id`. A type with an index declares no field. */
type HasCallId<Input> = true extends (
  Input extends object
    ? string extends keyof Input
      ? false
      : "id" extends keyof Input
        ? true
        : false
    : false
)
  ? true
  : false;

/** The options of a handler. They apply in addition to the rule of its view. */
export interface HandlerOptions<Schema extends StandardSchemaV1 | undefined, CurrentUser extends User = User>
  extends HandlerRule {
  /**
   * A schema of a Standard Schema library, such as Zod, Valibot or ArkType. A message that does not
   * match is rejected with 400 and the messages of the schema. Default: the fields are not
   * validated.
   */
  readonly body?: Schema | undefined;
  /**
   * Checks data of the app after all other checks, for example whether the user owns an object. Any
   * result other than `true` denies the call. `user.id` is defined in the type only if the handler
   * itself requires a permission or `signedIn`.
   */
  readonly authorize?:
    | ((context: HandlerAuthorizeContext<BodyOf<Schema>, CurrentUser>) => boolean | Promise<boolean>)
    | undefined;
  /**
   * Limits for calls of this handler, in addition to those of its view or of the app. Default:
   * none.
   */
  readonly limits?: HandlerLimits | undefined;
  /**
   * `false`: the rules and `authorize` of a handler with the same name in a parent class do not
   * apply. Default true.
   */
  readonly inheritRules?: boolean | undefined;
}

/** The validated options of a handler. */
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

/**
 * Validates the options of a handler.
 *
 * @param owner the first words of error messages, such as `ChatView.send_message`
 * @throws ConfigurationError for an invalid option
 */
export function parseHandlerOptions(owner: string, options: unknown): ValidHandlerOptions {
  return parseOptions(owner, HANDLER_OPTIONS, options);
}

/** The handlers that were created since {@link recordHandlers} was called. */
let recorded: Handler[] | undefined;

/** Calls `work`, and returns its result and the handlers that it creates, in order. */
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

/**
 * A member of a view that clients can call. {@link handler} returns it. Other members cannot be
 * called.
 */
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
 * Declares a handler of a view. Assign the result to an instance field of the view.
 *
 * @param options the schema of the body, and permissions in addition to those of the view. Optional
 * @param run processes a validated message. Its result is sent to the client as JSON. It can throw
 *   `forbidden("reason")` for a 403 with a generic message, or `badRequest("message for the client")` for
 *   a 400
 * @throws ConfigurationError if `run` is not a function. Options are validated when the view is
 *   mounted
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
  } & WithoutCallId<Schema>,
  run: (context: MessageContext<BodyOf<Schema>, SenderOf<Any, All, SignedIn>>) => Output | Promise<Output>,
): Handler<InputOf<Schema>, Output>;
export function handler(first: unknown, second?: unknown): Handler<never, unknown> {
  const [options, run] = second === undefined ? [{}, first] : [first, second];
  if (typeof run !== "function") {
    throw new ConfigurationError(
      "handler() expects a function, or options and a function. Write handler({ body: Schema }, async ({ body }) => { … }).",
    );
  }
  // The name of the handler is not known yet, so the options are validated when the view is
  // mounted.
  const declared = new Handler<never, unknown>(
    options as HandlerOptions<undefined>,
    run as (context: MessageContext<never>) => unknown,
  );
  recorded?.push(declared);
  return declared;
}

/** The body of {@link changeChannel}. */
const channelName: StandardSchemaV1<{ channel: string }> = {
  "~standard": {
    version: 1,
    vendor: "sallyport",
    validate: (value) => {
      const channel = (value as { channel?: unknown }).channel;
      return typeof channel === "string"
        ? { value: { channel } }
        : { issues: [{ message: "Must be the name of a channel.", path: ["channel"] }] };
    },
  },
};

/**
 * Returns a handler that moves the connection to the channel in the message.
 *
 * Declare it in a view as `change_channel = changeChannel()`. The client sends `{ "handler":
 * "change_channel", "channel": "rooms/general" }`. The rules of the channel are checked.
 */
export function changeChannel(): Handler<{ channel: string }, { ok: true; channel: string }> {
  return handler({ body: channelName }, async ({ body, move }) => {
    await move(body.channel);
    return { ok: true as const, channel: body.channel };
  });
}
