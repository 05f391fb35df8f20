import type { Permission } from "../access/permissions.ts";
import { ConfigurationError } from "../errors.ts";
import type { ConnectContext, DisconnectContext } from "./context.ts";
import { Handler } from "./handlers.ts";
import { RULE_FIELDS, type RuleDeclaration } from "./rule.ts";

/** Types only: what has every optional field of a view is not yet one. */
declare const brand: unique symbol;

/** While a view is being looked at: every field that its class chain defines, in order. */
let recorded: [name: PropertyKey, value: unknown][] | undefined;

/**
 * Extend it, declare who may use it and what a socket may call, and mount it:
 *
 * ```ts
 * class ChatView extends WebSocketView {
 *   permissionsRequired = [chat.can_use_chat];
 *   say = handler({ body: Say }, async ({ body, to }) => { … });
 * }
 * ```
 *
 * One frozen instance serves every socket, so nothing about a peer may be kept on it.
 */
export abstract class WebSocketView {
  declare readonly [brand]: true;
  /** Who may use the view at all: ANY of these. */
  declare readonly permissionsRequired?: readonly Permission[];
  /** Who may use the view at all: ALL of these. Beside `permissionsRequired`, both hold. */
  declare readonly allPermissionsRequired?: readonly Permission[];
  /** Any signed-in, active user. */
  declare readonly signedIn?: boolean;
  /** Everybody. Counts only on the class that is mounted. */
  declare readonly allowAnonymous?: boolean;
  /** `false`: this class's rule stands alone. Default: the rules of all parent classes hold as well. */
  declare readonly inheritRules?: boolean;
  /** Narrows what a socket may call to these names. Default: every handler. */
  declare readonly allowedHandlers?: readonly string[];
  /** A view without handlers, for sockets that only listen. */
  declare readonly receiveOnly?: boolean;
  /** Joined at connect by a socket that names no channel. */
  declare readonly defaultChannel?: string;
  /** Field of a message that names the handler. Default `handler`. */
  declare readonly handlerKey?: string;
  /** Field that picks API Gateway's route and, failing `handlerKey`, the handler. Default `action`. */
  declare readonly routeKey?: string;

  constructor() {
    const log = recorded;
    if (log) {
      // biome-ignore lint/correctness/noConstructorReturn: fields of subclasses are defined on what is returned
      return new Proxy(this, {
        defineProperty(target, name, descriptor) {
          log.push([name, descriptor.value]);
          return Reflect.defineProperty(target, name, descriptor);
        },
      });
    }
  }

  /** After every guard, before the session opens. Throw `refuse("why")` to keep the peer out. */
  connect?(context: ConnectContext): void | Promise<void>;
  /** After the session's row was closed; once per session. */
  disconnect?(context: DisconnectContext): void | Promise<void>;
}

export type ViewClass = new () => WebSocketView;

/** A view as its class declares it, before its rules are compiled. */
export interface ViewDeclaration {
  readonly name: string;
  readonly view: WebSocketView;
  /** What each class says, the mounted one first; every one of them must hold. */
  readonly rules: readonly RuleDeclaration[];
  readonly handlers: ReadonlyMap<string, Handler>;
}

/** Names that a handler may not have: members of the framework, and what JavaScript asks of any object. */
const RESERVED = new Set<string>([
  "connect",
  "disconnect",
  "constructor",
  "then",
  "defaultChannel",
  "handlerKey",
  "routeKey",
  "inheritRules",
  "allowedHandlers",
  "receiveOnly",
  ...RULE_FIELDS,
  ...Object.getOwnPropertyNames(Object.prototype),
]);

/**
 * Makes the one instance of a view and collects what it declares.
 *
 * @throws ConfigurationError with a sentence that says what to change
 */
export function declareView(View: ViewClass): ViewDeclaration {
  if (typeof View !== "function" || !(View.prototype instanceof WebSocketView)) {
    const what = typeof View === "function" ? (View as ViewClass).name : String(View);
    throw new ConfigurationError(`${what} is not a view. Mount a class that extends WebSocketView.`);
  }
  const name = View.name || "A view without a name";
  const chain = classChain(View);
  for (const ancestor of chain) refuseMisplacedRules(ancestor);
  const view = Object.freeze(new View());
  const handlers = collectHandlers(name, view);
  return { name, view, rules: declaredRules(chain), handlers };
}

function classChain(View: ViewClass): ViewClass[] {
  const chain: ViewClass[] = [];
  for (
    let ancestor = View;
    ancestor.prototype instanceof WebSocketView;
    ancestor = Object.getPrototypeOf(ancestor)
  ) {
    chain.push(ancestor);
  }
  return chain;
}

/** Own declarations of each class up to one that says `inheritRules = false`. */
function declaredRules(chain: readonly ViewClass[]): RuleDeclaration[] {
  const rules: RuleDeclaration[] = [];
  for (const [index, View] of chain.entries()) {
    const inherited = chain[index + 1] ? fieldsOf(chain[index + 1] as ViewClass).length : 0;
    const own = new Map(fieldsOf(View).slice(inherited));
    const declaration: Record<string, unknown> = {};
    for (const field of RULE_FIELDS) {
      if (field === "allowAnonymous" && index > 0) continue;
      if (own.has(field)) declaration[field] = own.get(field);
    }
    rules.push(declaration);
    if (own.get("inheritRules") === false) break;
  }
  return rules;
}

/** What constructing a class defines, its parents' fields first: a child's list begins with its parent's. */
function fieldsOf(View: ViewClass): [PropertyKey, unknown][] {
  const fields: [PropertyKey, unknown][] = [];
  recorded = fields;
  try {
    new View();
  } finally {
    recorded = undefined;
  }
  return fields;
}

function collectHandlers(name: string, view: WebSocketView): ReadonlyMap<string, Handler> {
  const handlers = new Map<string, Handler>();
  for (const [field, value] of Object.entries(view)) {
    if (!(value instanceof Handler)) continue;
    if (RESERVED.has(field) || field.startsWith("_")) {
      throw new ConfigurationError(
        `${name} declares a handler named "${field}", which ${field.startsWith("_") ? "is private by its _" : "belongs to the framework"}. Rename it.`,
      );
    }
    handlers.set(field, value as Handler);
  }
  const allowed = view.allowedHandlers;
  if (allowed !== undefined) {
    if (!Array.isArray(allowed)) throw new ConfigurationError(`${name}: allowedHandlers is a list of names.`);
    for (const wanted of allowed) {
      if (!handlers.has(wanted)) {
        throw new ConfigurationError(
          `${name} allows handler '${String(wanted)}' but declares none of that name. Add ${String(wanted)} = handler(...), ` +
            "or remove it from allowedHandlers.",
        );
      }
    }
    for (const declared of [...handlers.keys()]) if (!allowed.includes(declared)) handlers.delete(declared);
  }
  if (handlers.size === 0 && view.receiveOnly !== true) {
    throw new ConfigurationError(
      `${name} has no handlers. Add one with handler(...), or say receiveOnly = true if its sockets only listen.`,
    );
  }
  return handlers;
}

/** A rule that stands where it would be overlooked must not pass for one that is not there. */
function refuseMisplacedRules(View: ViewClass): void {
  const known = new Map(
    [...RULE_FIELDS, "inheritRules", "allowedHandlers"].map((field) => [plain(field), field]),
  );
  const refuse = (name: PropertyKey, field: string) => {
    throw new ConfigurationError(
      `${View.name} declares "${String(name)}" where it has no effect. Write it as a field of the class: ${field} = …`,
    );
  };
  for (const [name] of fieldsOf(View)) {
    const field = typeof name === "string" ? known.get(plain(name)) : undefined;
    if (field !== undefined && field !== name) refuse(name, field);
  }
  for (const name of [...Object.getOwnPropertyNames(View), ...Object.getOwnPropertyNames(View.prototype)]) {
    const field = known.get(plain(name));
    if (field !== undefined) refuse(name, field);
  }
}

/** Python's `permissions_required` and `PermissionsRequired` are the same slip. */
function plain(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}
