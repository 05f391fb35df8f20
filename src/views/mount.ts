import type { StandardSchemaV1 } from "@standard-schema/spec";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import type { PermissionCatalog } from "../permissions/define.ts";
import { statesRule } from "../permissions/rule-options.ts";
import { compileRule, type Rule } from "../permissions/rules.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import { isPath } from "../protocol/path.ts";
import type { Channels } from "./channels.ts";
import type { MessageContext } from "./context.ts";
import type { HandlerAuthorizeContext } from "./handler.ts";
import type { HandlerLimits, ValidViewLimits } from "./limits.ts";
import type { ViewClass, WebSocketView } from "./view.ts";
import { type HandlerDeclaration, ViewReader } from "./view-reader.ts";

/** A handler that clients of a view can call. */
export interface MountedHandler {
  readonly name: string;
  /** Applies in addition to the rule of the view. */
  readonly rule: Rule;
  readonly schema: StandardSchemaV1 | undefined;
  readonly authorize: ((context: HandlerAuthorizeContext) => boolean | Promise<boolean>) | undefined;
  readonly limits: HandlerLimits;
  readonly run: (context: MessageContext) => unknown;
}

/** A view at its path, validated and compiled. */
export interface MountedView {
  readonly path: string;
  readonly name: string;
  readonly view: WebSocketView;
  readonly rule: Rule;
  readonly handlers: ReadonlyMap<string, MountedHandler>;
  readonly handlerKey: string;
  readonly routeKey: string;
  /** The fields of a message that are not part of the body of a handler. */
  readonly reservedFields: ReadonlySet<string>;
  readonly defaultChannel: string | undefined;
  readonly limits: ValidViewLimits;
}

/**
 * Creates the instance of each view, validates its declarations, and compiles its rules.
 *
 * @param channels the declared channels. The `defaultChannel` of a view must match one of them
 * @throws ConfigurationError with what to change
 */
export function mountViews(
  views: Readonly<Record<string, ViewClass>>,
  catalog: PermissionCatalog,
  channels: Channels,
): ReadonlyMap<string, MountedView> {
  const reader = new ViewReader();
  const mounted = new Map<string, MountedView>();
  for (const [path, View] of Object.entries(views)) {
    if (!isPath(path)) {
      throw new ConfigurationError(
        `views: ${formatValue(path)} is not a path. It is compared with the path of a request without decoding. ` +
          "Use a path that begins with /, does not end with it, and has segments of letters, digits and - . _ ~, " +
          'such as "/ws/chat".',
      );
    }
    mounted.set(path, mountView(path, View, { reader, catalog, channels }));
  }
  if (mounted.size === 0) {
    throw new ConfigurationError(
      'views is empty, so no client could connect. Add a view: views: { "/ws/chat": ChatView }.',
    );
  }
  return mounted;
}

interface Declarations {
  readonly reader: ViewReader;
  readonly catalog: PermissionCatalog;
  readonly channels: Channels;
}

function mountView(path: string, View: ViewClass, { reader, catalog, channels }: Declarations): MountedView {
  const { name, view, rules, options, limits, handlers } = reader.read(View);
  const isKnown = (permission: string) => catalog.find(permission) !== undefined;
  if (!rules.some(statesRule)) {
    throw new ConfigurationError(
      `${name} has no rule. Add static permissionsRequired = [...], static allPermissionsRequired = [...], ` +
        "static signedIn = true, or static allowAnonymous = true.",
    );
  }
  const rule = compileRule(name, rules, isKnown);
  if (rules[0]?.allowAnonymous && rule.signedIn) {
    throw new ConfigurationError(
      `${name} sets allowAnonymous, but inherits a rule that an anonymous user cannot satisfy. ` +
        "Add static inheritRules = false to accept all clients, or remove allowAnonymous.",
    );
  }
  const { defaultChannel, handlerKey = "handler", routeKey = "action" } = options;
  if (defaultChannel !== undefined) checkDefaultChannel(name, defaultChannel, channels);
  return Object.freeze({
    path,
    name,
    view,
    rule,
    handlers: new Map([...handlers].map(([each, declared]) => [each, mountHandler(name, declared, isKnown)])),
    handlerKey,
    routeKey,
    reservedFields: new Set(["id", handlerKey, routeKey]),
    defaultChannel,
    limits,
  });
}

function mountHandler(
  view: string,
  { name, options, rules, authorize, limits, run }: HandlerDeclaration,
  isKnown: (permission: string) => boolean,
): MountedHandler {
  return {
    name,
    rule: compileRule(`${view}.${name}`, rules, isKnown),
    schema: options.body,
    authorize: allOf(authorize),
    limits,
    run: run as MountedHandler["run"],
  };
}

/** Combines functions into one. It returns true if all of them return true. */
function allOf(functions: HandlerDeclaration["authorize"]): MountedHandler["authorize"] {
  if (functions.length <= 1) return functions[0];
  return async (context) => {
    for (const authorize of functions) if ((await authorize(context)) !== true) return false;
    return true;
  };
}

function checkDefaultChannel(view: string, channel: string, channels: Channels): void {
  if (isChannelName(channel) && channels.match(channel)) return;
  throw new ConfigurationError(
    `${view}: defaultChannel ${JSON.stringify(channel)} matches no channel definition, so every connection without a channel would be ` +
      "denied. Add a defineChannel() that matches it, or change defaultChannel.",
  );
}
