import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { RuleDeclaration } from "../permissions/rule-options.ts";
import type { MessageContext } from "./context.ts";
import { Handler, parseHandlerOptions, recordHandlers, type ValidHandlerOptions } from "./handler.ts";
import type { HandlerLimits, ValidViewLimits } from "./limits.ts";
import { type ViewClass, WebSocketView } from "./view.ts";
import {
  checkMethods,
  isHook,
  nameOf,
  publicField,
  readOwnOptions,
  VIEW_OPTION_NAMES,
  type ViewOptions,
} from "./view-options.ts";

/** A handler, including the rules of handlers with the same name in parent classes. */
export interface HandlerDeclaration {
  readonly name: string;
  /** The options of the handler itself. */
  readonly options: ValidHandlerOptions;
  /** The rules of the handler and of the handlers that it replaces. All of them apply. */
  readonly rules: readonly RuleDeclaration[];
  /**
   * The `authorize` functions of the handler and of those that it replaces. All must return true.
   */
  readonly authorize: readonly NonNullable<ValidHandlerOptions["authorize"]>[];
  /** For each limit, the value of the most derived class that sets it on this handler. */
  readonly limits: HandlerLimits;
  readonly run: (context: MessageContext<never>) => unknown;
}

/** The declarations of a view class, before its rules are compiled. */
export interface ViewDeclaration {
  readonly name: string;
  readonly view: WebSocketView;
  /** The rules of the class and of its parents, the mounted class first. All of them apply. */
  readonly rules: readonly RuleDeclaration[];
  /** For each other option, the value of the most derived class that sets it. */
  readonly options: Omit<ViewOptions, keyof RuleDeclaration | "inheritRules" | "allowedHandlers" | "limits">;
  /** For each limit, the value of the most derived class that sets it. */
  readonly limits: ValidViewLimits;
  readonly handlers: ReadonlyMap<string, HandlerDeclaration>;
}

/**
 * The declarations of one class in the inheritance chain of a view, and the handlers of its
 * instance.
 */
interface ClassDeclaration {
  readonly name: string;
  readonly instance: WebSocketView;
  /** The options of the class itself, without those of parent classes. */
  readonly options: ViewOptions;
  /** The handlers of an instance, including those of parent classes. */
  readonly handlers: ReadonlyMap<string, FoundHandler>;
}

interface FoundHandler {
  readonly handler: Handler;
  /** Its position among the handlers that the constructor creates, or -1. */
  readonly index: number;
  readonly options: ValidHandlerOptions;
  /** Whether the class itself declares it. Otherwise a parent class does. */
  readonly isOwn: boolean;
}

/** Names that a handler cannot have: members of a view, and properties that JavaScript reads. */
const RESERVED = new Set<string>([
  ...VIEW_OPTION_NAMES,
  "authorize",
  "connect",
  "disconnect",
  "then",
  ...Object.getOwnPropertyNames(Object.prototype),
]);

/** Reads view classes. Each class is constructed only once, even if several views extend it. */
export class ViewReader {
  readonly #classes = new Map<ViewClass, ClassDeclaration>();

  /**
   * Reads the options and handlers of a view from its class and its parent classes. Creates the
   * instance that serves all connections.
   *
   * @throws ConfigurationError with what to change
   */
  read(View: ViewClass): ViewDeclaration {
    if (typeof View !== "function" || !(View.prototype instanceof WebSocketView)) {
      const name = typeof View === "function" ? nameOf(View) : String(View);
      throw new ConfigurationError(
        `${name} is not a view. Mount a class that extends WebSocketView. If it does, run npm ls sallyport, because two copies are installed.`,
      );
    }
    const chain = this.#chain(View);
    const [mounted] = chain as [ClassDeclaration];
    const handlers = allowedHandlers(chain);
    const options = {
      receiveOnly: mostDerivedOption(chain, "receiveOnly"),
      defaultChannel: mostDerivedOption(chain, "defaultChannel"),
      handlerKey: mostDerivedOption(chain, "handlerKey"),
      routeKey: mostDerivedOption(chain, "routeKey"),
    };
    checkHandlerCount(mounted.name, handlers.size, options.receiveOnly === true);
    const limits = mostDerived(chain.map((each) => each.options.limits)) as ValidViewLimits;
    return { name: mounted.name, view: mounted.instance, rules: rulesOf(chain), options, limits, handlers };
  }

  /** Returns the class and its parent classes below WebSocketView. The class comes first. */
  #chain(View: ViewClass): readonly ClassDeclaration[] {
    const classes: ViewClass[] = [];
    for (
      let each = View;
      each.prototype instanceof WebSocketView;
      each = Object.getPrototypeOf(each) as ViewClass
    ) {
      classes.push(each);
      checkPrototypes(each);
    }
    // Reads parents first: an error names the class that causes it, and a class needs its parent.
    const chain: ClassDeclaration[] = [];
    for (const each of classes.reverse()) {
      const declaration = this.#classes.get(each) ?? readClass(each, chain[0]);
      this.#classes.set(each, declaration);
      chain.unshift(declaration);
    }
    return chain;
  }
}

/**
 * Checks that static and instance members are inherited from the same class. Otherwise, rules would
 * be lost.
 */
function checkPrototypes(View: ViewClass): void {
  const Parent: unknown = Object.getPrototypeOf(View);
  const parent: unknown = Object.getPrototypeOf(View.prototype);
  if (typeof Parent === "function" && Parent.prototype === parent) return;
  throw new ConfigurationError(
    `${nameOf(View)} inherits its methods from another class than its static fields, so rules of a parent class would be lost. ` +
      "Write class … extends …, instead of changing prototypes.",
  );
}

function readClass(View: ViewClass, parent: ClassDeclaration | undefined): ClassDeclaration {
  const name = nameOf(View);
  const options = readOwnOptions(View);
  checkMethods(View);
  const { instance, made } = construct(View);
  const handlers = new Map<string, FoundHandler>();
  for (const [field, { value }] of Object.entries(Object.getOwnPropertyDescriptors(instance))) {
    if (!(value instanceof Handler)) {
      if (isHook(field) && typeof value === "function") continue;
      throw publicField(View, field);
    }
    const handler = value as Handler;
    checkHandlerName(name, field);
    // A constructor creates the handlers of the parent class first, in the same order as the
    // parent.
    const index = made.indexOf(handler);
    const valid = parseHandlerOptions(`${name}.${field}`, handler.options);
    const found = { handler, index, options: valid };
    handlers.set(field, { ...found, isOwn: !isInherited(found, parent?.handlers.get(field)) });
  }
  return { name, instance: Object.freeze(instance), options, handlers };
}

/**
 * Returns true if the parent class certainly declares the handler.
 *
 * It is the same object, or it has the same position and the same source code. If the result is
 * false, `authorize` of the parent is called as well.
 */
function isInherited(
  { handler, index, options }: Omit<FoundHandler, "isOwn">,
  parent: FoundHandler | undefined,
): boolean {
  if (!parent) return false;
  if (handler === parent.handler) return true;
  return (
    index !== -1 &&
    index === parent.index &&
    String(handler.run) === String(parent.handler.run) &&
    String(options.authorize) === String(parent.options.authorize)
  );
}

function construct(View: ViewClass): { readonly instance: WebSocketView; readonly made: readonly Handler[] } {
  try {
    const { result, made } = recordHandlers(() => new View());
    return { instance: result, made };
  } catch (error) {
    if (error instanceof ConfigurationError) {
      throw new ConfigurationError(
        `${nameOf(View)} could not be constructed: ${error.message.replace(/\.$/, "")}. Correct the field of the view.`,
        { code: error.code, cause: error },
      );
    }
    const { message } = error instanceof Error ? error : { message: String(error) };
    throw new ConfigurationError(
      `${nameOf(View)} could not be constructed: ${message}. A view and its parent classes, abstract ones too, are constructed once at ` +
        "startup without arguments, to find their handlers. Make the constructor work without arguments.",
      { cause: error },
    );
  }
}

function checkHandlerName(view: string, name: string): void {
  if (name.startsWith("_")) {
    throw new ConfigurationError(
      `${view} declares a handler named "${name}". A name that begins with _ means that it is private, but clients could call it. Rename it, or make it a #private method.`,
    );
  }
  if (RESERVED.has(name)) {
    throw new ConfigurationError(
      `${view} declares a handler named "${name}". The framework or JavaScript itself uses this name. Rename the handler.`,
    );
  }
}

/** Returns the rules of each class, up to a class with `inheritRules: false`. */
function rulesOf(chain: readonly ClassDeclaration[]): readonly RuleDeclaration[] {
  const rules: RuleDeclaration[] = [];
  for (const [index, { options }] of chain.entries()) {
    const { permissionsRequired, allPermissionsRequired, signedIn, allowAnonymous } = options;
    rules.push({
      permissionsRequired,
      allPermissionsRequired,
      signedIn,
      allowAnonymous: index === 0 ? allowAnonymous : undefined,
    });
    if (options.inheritRules === false) break;
  }
  return rules;
}

/** Returns the value of the most derived class that sets the option. */
function mostDerivedOption<Name extends keyof ViewOptions>(
  chain: readonly ClassDeclaration[],
  name: Name,
): ViewOptions[Name] {
  return chain.find(({ options }) => options[name] !== undefined)?.options[name];
}

/**
 * Merges limits, those of the most derived class first. A class inherits each limit that it does
 * not set.
 */
function mostDerived<Values extends object>(declared: readonly (Values | undefined)[]): Values {
  return Object.freeze(Object.assign({}, ...[...declared].reverse()) as Values);
}

/**
 * Returns the handlers that clients can call.
 *
 * `allowedHandlers` of a subclass cannot contain handlers that the list of a parent class excludes.
 */
function allowedHandlers(chain: readonly ClassDeclaration[]): ReadonlyMap<string, HandlerDeclaration> {
  const [mounted] = chain as [ClassDeclaration];
  let allowed: ReadonlySet<string> | undefined;
  /** The handlers of the last class with a list. Each of them is allowed or excluded. */
  let decided: ReadonlyMap<string, FoundHandler> = new Map();
  for (const { name, options, handlers } of [...chain].reverse()) {
    if (!options.allowedHandlers) continue;
    for (const listed of options.allowedHandlers) {
      if (!handlers.has(listed)) throw notDeclared(name, listed, handlers.keys());
      if (decided.has(listed) && !allowed?.has(listed)) throw excludedByParent(name, listed);
    }
    allowed = new Set(options.allowedHandlers);
    decided = handlers;
  }
  const names = [...mounted.handlers.keys()];
  if (!allowed) return new Map(names.map((name) => [name, handlerOf(chain, name)]));
  const unlisted = names.find((name) => !decided.has(name));
  if (unlisted !== undefined) throw notListed(mounted.name, unlisted);
  return new Map(names.filter((name) => allowed.has(name)).map((name) => [name, handlerOf(chain, name)]));
}

function notDeclared(view: string, listed: string, declared: Iterable<string>): ConfigurationError {
  return new ConfigurationError(
    `${view} lists handler "${listed}" in allowedHandlers, but does not declare it.${closestMatch(listed, declared)} ` +
      `Add ${listed} = handler(...), or remove it from allowedHandlers.`,
  );
}

function excludedByParent(view: string, listed: string): ConfigurationError {
  return new ConfigurationError(
    `${view} lists handler "${listed}" in allowedHandlers, but allowedHandlers of a parent class excludes it. ` +
      `A subclass cannot allow it again. Add "${listed}" to the list of the parent class, or remove it from the list of ${view}.`,
  );
}

function notListed(view: string, name: string): ConfigurationError {
  return new ConfigurationError(
    `${view} declares handler "${name}", but only a parent class has allowedHandlers, so no client could call it. ` +
      `Add static allowedHandlers = [...] with "${name}" to ${view}.`,
  );
}

/**
 * Returns a handler with the rules of those that it replaces, so that a subclass cannot widen
 * access.
 */
function handlerOf(chain: readonly ClassDeclaration[], name: string): HandlerDeclaration {
  const [mounted] = chain as [ClassDeclaration];
  const { handler, options } = mounted.handlers.get(name) as FoundHandler;
  const rules: RuleDeclaration[] = [];
  const authorize = options.authorize ? [options.authorize] : [];
  let isDeclared = false;
  for (const parent of chain) {
    const found = parent.handlers.get(name);
    if (!found) continue;
    rules.push(found.options);
    // The function of the mounted class itself, or the one that it inherits, is in the list
    // already.
    if (isDeclared && found.isOwn && found.options.authorize) {
      if (found.options.body && !options.body) throw bodyMissing(mounted.name, parent.name, name);
      authorize.push(found.options.authorize);
    }
    isDeclared ||= found.isOwn;
    if (found.options.inheritRules === false) break;
  }
  // Limits are not rules, so inheritRules does not affect them. A class turns a limit off with
  // false.
  const limits = mostDerived(chain.map((each) => each.handlers.get(name)?.options.limits));
  return { name, options, rules, authorize, limits, run: handler.run };
}

function bodyMissing(view: string, parent: string, name: string): ConfigurationError {
  return new ConfigurationError(
    `${view}.${name} replaces ${parent}.${name} and keeps its authorize, which expects a validated body. Give the handler a body ` +
      "schema, or set inheritRules: false and authorize.",
  );
}

function checkHandlerCount(view: string, count: number, receiveOnly: boolean): void {
  if (count === 0 && !receiveOnly) {
    throw new ConfigurationError(
      `${view} has no handlers. Add one with handler(...), or set static receiveOnly = true if its clients only receive.`,
    );
  }
  if (count > 0 && receiveOnly) {
    throw new ConfigurationError(
      `${view} sets receiveOnly, but clients could call ${count} of its handlers. Remove receiveOnly, or set static allowedHandlers = [].`,
    );
  }
}
