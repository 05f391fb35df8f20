import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { PermissionCatalog } from "../access/permissions.ts";
import { compileRule, type Rule } from "../access/rules.ts";
import { ConfigurationError } from "../errors.ts";
import type { MessageContext } from "../view/context.ts";
import type { HandlerAuthorizeContext } from "../view/handlers.ts";
import { statesRule } from "../view/rule.ts";
import { declareView, type ViewClass, type WebSocketView } from "../view/view.ts";

/** A handler that sockets of a view may call. */
export interface MountedHandler {
  readonly name: string;
  /** On top of the view's rule. */
  readonly rule: Rule;
  readonly schema: StandardSchemaV1 | undefined;
  readonly authorize: ((context: HandlerAuthorizeContext) => boolean | Promise<boolean>) | undefined;
  readonly run: (context: MessageContext) => unknown;
}

/** A view at its path, with everything about it checked and compiled. */
export interface MountedView {
  readonly path: string;
  readonly name: string;
  readonly view: WebSocketView;
  readonly rule: Rule;
  readonly handlers: ReadonlyMap<string, MountedHandler>;
  readonly handlerKey: string;
  readonly routeKey: string;
  readonly defaultChannel: string | undefined;
}

/**
 * Makes each view's one instance, checks all it declares, and compiles its rules.
 *
 * @throws ConfigurationError with a sentence that says what to change
 */
export function mountViews(
  views: Readonly<Record<string, ViewClass>>,
  catalog: PermissionCatalog,
): ReadonlyMap<string, MountedView> {
  const mounted = new Map<string, MountedView>();
  for (const [path, View] of Object.entries(views)) {
    if (!/^(?:\/[A-Za-z0-9._~-]+)+$/.test(path)) {
      throw new ConfigurationError(
        `views: "${path}" is no path. Begin with / and end without, as in "/ws/chat".`,
      );
    }
    mounted.set(path, mountView(path, View, catalog));
  }
  if (mounted.size === 0) throw new ConfigurationError("views is empty, so there is nothing to connect to.");
  return mounted;
}

function mountView(path: string, View: ViewClass, catalog: PermissionCatalog): MountedView {
  const { name, view, rules, handlers } = declareView(View);
  const isKnown = (permission: string) => catalog.find(permission) !== undefined;
  if (!rules.some(statesRule)) {
    throw new ConfigurationError(
      `${name} does not say who may use it. Add permissionsRequired = [...], allPermissionsRequired = [...], ` +
        "signedIn = true, or allowAnonymous = true.",
    );
  }
  const rule = compileRule(name, rules, isKnown);
  if (rules[0]?.allowAnonymous && rule.signedIn) {
    throw new ConfigurationError(
      `${name} says allowAnonymous = true but inherits a rule that no anonymous user passes. ` +
        "Say inheritRules = false beside it if the view is meant to be open.",
    );
  }
  const mountedHandlers = new Map<string, MountedHandler>();
  for (const [handlerName, { options, run }] of handlers) {
    const owner = `${name}.${handlerName}`;
    if (options.authorize !== undefined && typeof options.authorize !== "function") {
      throw new ConfigurationError(`${owner}: authorize is a function that gives true or false.`);
    }
    mountedHandlers.set(handlerName, {
      name: handlerName,
      rule: compileRule(owner, [options], isKnown),
      schema: options.body,
      authorize: options.authorize as MountedHandler["authorize"],
      run: run as MountedHandler["run"],
    });
  }
  return Object.freeze({
    path,
    name,
    view,
    rule,
    handlers: mountedHandlers,
    handlerKey: view.handlerKey ?? "handler",
    routeKey: view.routeKey ?? "action",
    defaultChannel: view.defaultChannel,
  });
}
