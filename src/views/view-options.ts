import * as v from "valibot";
import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import { booleanOption, optionsOf, parseOptions, textOption } from "../options.ts";
import { RULE_SCHEMAS, type RuleDeclaration } from "../permissions/rule-options.ts";
import { Handler } from "./handler.ts";
import { type ViewLimits, viewLimitsSchema } from "./limits.ts";
import type { ViewClass } from "./view.ts";

/** The options of a view: static fields of its class. */
export interface ViewOptions extends RuleDeclaration {
  /** `false`: the rules of parent classes do not apply to this class. Default true. */
  readonly inheritRules?: boolean | undefined;
  /**
   * The handlers that clients can call. A subclass cannot allow handlers of a parent class that the
   * list of the parent class excludes. Default: all handlers.
   */
  readonly allowedHandlers?: readonly string[] | undefined;
  /** `true`: the view has no handlers, and its clients only receive messages. Default false. */
  readonly receiveOnly?: boolean | undefined;
  /**
   * The channel to join if the client names none. It must match a channel definition. Default:
   * none.
   */
  readonly defaultChannel?: string | undefined;
  /**
   * Limits of this view, which replace those of the app. Subclasses inherit the values that they do
   * not set. Default: the limits of the app.
   */
  readonly limits?: ViewLimits | undefined;
  /** The field of a message that contains the name of the handler. Default "handler". */
  readonly handlerKey?: string | undefined;
  /**
   * The field that selects the route in API Gateway and, without `handlerKey`, the handler. Default
   * "action".
   */
  readonly routeKey?: string | undefined;
}

/**
 * Accepts a field name that a route selection expression can contain. `id` is the field of the call
 * id.
 */
const messageField = textOption(
  /^(?!id$|__proto__$)[A-Za-z0-9_-]{1,128}$/,
  'the name of a message field: 1 to 128 letters, digits, _ or -, and not "id"',
);

const SCHEMAS = {
  ...RULE_SCHEMAS,
  inheritRules: v.exactOptional(booleanOption),
  allowedHandlers: v.exactOptional(
    v.array(v.string("must be the name of a handler"), "must be an array of handler names"),
  ),
  receiveOnly: v.exactOptional(booleanOption),
  defaultChannel: v.exactOptional(v.string("must be the name of a channel, such as lobby")),
  limits: v.exactOptional(viewLimitsSchema as v.GenericSchema<ViewLimits, ViewLimits>),
  handlerKey: v.exactOptional(messageField),
  routeKey: v.exactOptional(messageField),
};
const VIEW_OPTIONS = optionsOf<ViewOptions>()(SCHEMAS);

/** The names of the static fields that are options. */
export const VIEW_OPTION_NAMES = Object.keys(SCHEMAS) as readonly (keyof ViewOptions)[];

const AUTHORIZE_ADVICE =
  "A view has no authorize. Move it to the options of a handler or of defineChannel(), or check the user in connect().";

/**
 * Common wrong names of options, and what to write instead. The keys are lowercase, without
 * underscores. Many are class attributes of the Python package Django-AWS-API-Gateway-WebSockets.
 */
const ALIASES: Readonly<Record<string, string>> = {
  permission: 'Did you mean "permissionsRequired"?',
  permissions: 'Did you mean "permissionsRequired"?',
  requiredpermission: 'Did you mean "permissionsRequired"?',
  requiredpermissions: 'Did you mean "permissionsRequired"?',
  allpermissions: 'Did you mean "allPermissionsRequired"?',
  requiredallpermissions: 'Did you mean "allPermissionsRequired"?',
  additionalallowedhandlers: 'Did you mean "allowedHandlers"?',
  defaultchannelname: 'Did you mean "defaultChannel"?',
  handlerselectionkey: 'Did you mean "handlerKey"?',
  routeselectionkey: 'Did you mean "routeKey"?',
  authorize: AUTHORIZE_ADVICE,
  authorise: AUTHORIZE_ADVICE,
  authorizemany: AUTHORIZE_ADVICE,
  isauthorized: AUTHORIZE_ADVICE,
  sendrequired: "Give sendRequired to defineChannel().",
  loginrequired: 'Did you mean "signedIn"?',
  isauthenticated: 'Did you mean "signedIn"?',
  permissionclasses: 'Did you mean "permissionsRequired"?',
  requiredperms: 'Did you mean "permissionsRequired"?',
  hasperms: 'Did you mean "permissionsRequired"?',
  onopen: 'Did you mean the method "connect"?',
  onclose: 'Did you mean the method "disconnect"?',
  onconnection: 'Did you mean the method "connect"?',
  beforeconnect: 'Did you mean the method "connect"?',
  onconnect: 'Did you mean the method "connect"?',
  ondisconnect: 'Did you mean the method "disconnect"?',
  additionalconnectionchecks: 'Did you mean the method "connect"?',
  awsapigatewayid: "Only registered gateways can call the app: each has its own secret. Remove it.",
  channelnamepattern: "Declare the channels with defineChannel(): other names are rejected.",
  maxbodysize:
    "API Gateway limits messages to 128 KB. Limit single fields in the body schema of the handler.",
  ratelimitenabled: "Set createSallyport({ limits }), or static limits on the view.",
  ratelimitmaxattempts: "Set createSallyport({ limits: { connectsPerUser, connectsPerIp } }).",
  ratelimitwindowminutes: "Limits are counted per minute. Set createSallyport({ limits }).",
  requiredheaders: "The secret of the gateway proves the caller. Check other headers in connect().",
  additionalrequiredheaders: "The secret of the gateway proves the caller. Check other headers in connect().",
  requiredconnectionheaders: "Check the headers of the handshake in connect().",
};

/**
 * Returns the options that a class itself declares, without those of its parent classes.
 *
 * @throws ConfigurationError for any other public static field, because it may be a misspelled rule
 */
export function readOwnOptions(View: ViewClass): ViewOptions {
  const given: Record<string, unknown> = {};
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(View))) {
    const isValue = "value" in descriptor;
    if (isValue && isOption(name)) given[name] = descriptor.value;
    else if (isValue && descriptor.enumerable) rejectStaticField(View, name, descriptor.value);
    else checkMethodName(View, `static ${isValue ? "method" : "accessor"}`, name);
  }
  return parseOptions(nameOf(View), VIEW_OPTIONS, given);
}

/**
 * Checks the methods of a class. A method with the name of an option would have no effect.
 *
 * @throws ConfigurationError with the name and what to write instead
 */
export function checkMethods(View: ViewClass): void {
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(View.prototype))) {
    const isMethod = typeof descriptor.value === "function";
    if (isMethod && isHook(name)) continue;
    if ("value" in descriptor && !isMethod) throw publicField(View, name);
    checkMethodName(View, isMethod ? "method" : "accessor", name);
  }
}

/** Returns the error for a public instance field that is not a handler. */
export function publicField(View: ViewClass, name: string): ConfigurationError {
  if (isOption(name)) {
    return new ConfigurationError(
      `${nameOf(View)} declares "${name}" as an instance field, where it has no effect. Write it as a static field: static ${name} = …`,
    );
  }
  return new ConfigurationError(
    `${nameOf(View)} has a public field "${name}", which is not a handler.${suggestion(name)} ${PRIVATE_FIELD_ADVICE}`,
  );
}

const PRIVATE_FIELD_ADVICE =
  "Fields that TypeScript calls private and parameter properties are public at run time. For your own data, use a #private field.";

function rejectStaticField(View: ViewClass, name: string, value: unknown): never {
  const hint = value instanceof Handler ? " Handlers are instance fields: remove static." : suggestion(name);
  throw new ConfigurationError(
    `${nameOf(View)} has a static field "${name}", which is not an option of a view.${hint} ${PRIVATE_FIELD_ADVICE}`,
  );
}

function checkMethodName(View: ViewClass, kind: string, name: string): void {
  const fix = isHook(name) ? `Write ${name}() as an instance method.` : methodLikeOption(name);
  if (fix === undefined) return;
  throw new ConfigurationError(
    `${nameOf(View)} has the ${kind} "${name}", which has no effect under this name. ${fix} If it is your own helper, rename it.`,
  );
}

/**
 * Returns what to write if the name of a method is similar to an option or a hook, otherwise
 * undefined.
 */
function methodLikeOption(name: string): string | undefined {
  const plain = plainName(name);
  const alias = aliasOf(plain);
  if (alias !== undefined) return alias;
  const option = VIEW_OPTION_NAMES.find((each) => isTypoOf(plain, each));
  if (option !== undefined) return `Write it as a static field: static ${option} = …;`;
  const hook = HOOKS.find((each) => isTypoOf(plain, each));
  return hook === undefined ? undefined : `Did you mean the method "${hook}"?`;
}

/** Returns whether the names differ in at most one letter. */
function isTypoOf(name: string, known: string): boolean {
  return closestMatch(name, [known], 1) !== "";
}

function suggestion(name: string): string {
  const plain = plainName(name);
  const alias = aliasOf(plain);
  return alias === undefined ? closestMatch(plain, [...VIEW_OPTION_NAMES, ...HOOKS]) : ` ${alias}`;
}

function aliasOf(plain: string): string | undefined {
  return Object.hasOwn(ALIASES, plain) ? ALIASES[plain] : undefined;
}

/** Normalizes a name. `permissions_required` and `PermissionsRequired` have the same result. */
function plainName(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}

/** Methods of a view that the framework calls. */
const HOOKS = ["connect", "disconnect"] as const;

/** Returns whether the framework calls the method with this name. */
export function isHook(name: string): boolean {
  return HOOKS.some((hook) => hook === name);
}

function isOption(name: string): name is keyof ViewOptions {
  return Object.hasOwn(SCHEMAS, name);
}

/** Returns the name of a class for messages. */
export function nameOf(View: ViewClass): string {
  return (typeof View.name === "string" && View.name) || "A view without a name";
}
