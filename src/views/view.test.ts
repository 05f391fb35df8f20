import { describe, expect, test } from "vitest";
import { z } from "zod";
import { ConfigurationError } from "../errors.ts";
import { definePermissions, PermissionCatalog } from "../permissions/define.ts";
import { defineChannel } from "./channel.ts";
import { Channels } from "./channels.ts";
import type { HandlerAuthorizeContext } from "./handler.ts";
import { type Handler, handler } from "./handler.ts";
import type { ViewLimits } from "./limits.ts";
import { mountViews } from "./mount.ts";
import { type ViewClass, WebSocketView } from "./view.ts";

const chat = definePermissions("chat", { use: "Use", moderate: "Moderate" });
const catalog = new PermissionCatalog([chat]);
const channels = new Channels([defineChannel("rooms/:slug", { signedIn: true })], catalog);
const mountAll = (views: Record<string, unknown>) =>
  mountViews(views as Record<string, ViewClass>, catalog, channels);
const mount = (View: unknown) => {
  const mounted = mountAll({ "/ws": View }).get("/ws");
  if (!mounted) throw new Error("not mounted");
  return mounted;
};
const ping = () => handler(() => ({ ok: true }));
const OWN: unique symbol = Symbol("own");
const context = {} as HandlerAuthorizeContext;

/** A valid view, with static fields and instance fields as a JavaScript author could write them. */
function viewWith(
  statics: object,
  fields: object = {},
  Parent: ViewClass = WebSocketView as never,
): ViewClass {
  class View extends Parent {
    static override signedIn = true;
    ping = ping();
    constructor() {
      super();
      Object.assign(this, fields);
    }
  }
  return Object.assign(View, statics);
}

describe("a mounted view", () => {
  test("is one frozen instance with the handlers in its fields", () => {
    class View extends WebSocketView {
      static override signedIn = true;
      #secret = "x";
      readonly [OWN] = "a symbol is the author's own";
      ping = ping();
      method() {
        return this.#secret;
      }
      static create() {
        return new View();
      }
      get accessor() {
        return this.#secret;
      }
    }
    const { handlers, view, name } = mount(View);
    expect([...handlers.keys()]).toEqual(["ping"]);
    expect(Object.isFrozen(view)).toBe(true);
    expect(name).toBe("View");
  });

  test("exposes only the handlers that allowedHandlers lists", () => {
    class View extends WebSocketView {
      static override signedIn = true;
      static override allowedHandlers = ["a"];
      a = ping();
      b = ping();
    }
    expect([...mount(View).handlers.keys()]).toEqual(["a"]);
  });

  test("inherits allowedHandlers, and can narrow or extend it by its own handlers", () => {
    class Base extends WebSocketView {
      static override signedIn = true;
      static override allowedHandlers = ["a", "b"];
      a = ping();
      b = ping();
      hidden = ping();
    }
    class Same extends Base {}
    class Narrow extends Base {
      static override allowedHandlers = ["b"];
    }
    class Middle extends Base {
      c = ping();
    }
    class Extended extends Middle {
      static override allowedHandlers = ["a", "c"];
    }
    expect([...mount(Same).handlers.keys()]).toEqual(["a", "b"]);
    expect([...mount(Narrow).handlers.keys()]).toEqual(["b"]);
    expect([...mount(Extended).handlers.keys()]).toEqual(["a", "c"]);
    expect(() => mount(Middle)).toThrow(
      /^Middle declares handler "c", but only a parent class has allowedHandlers/,
    );
    class Again extends Narrow {
      static override allowedHandlers = ["a"];
    }
    expect(() => mount(Again)).toThrow(/^Again lists handler "a" .* A subclass cannot allow it again/);
    class Redeclared extends Base {
      static override allowedHandlers = ["hidden"];
      override hidden = ping();
    }
    expect(() => mount(Redeclared)).toThrow(/A subclass cannot allow it again/);
    for (const View of [Middle, Again, Redeclared]) expect(() => mount(View)).toThrow(ConfigurationError);
  });

  test("inherits handlers and applies the rules of all its classes", () => {
    class Base extends WebSocketView {
      static override permissionsRequired = [chat.use];
      ping = ping();
    }
    class Middle extends Base {}
    class Narrow extends Middle {
      static override permissionsRequired = [chat.moderate];
    }
    expect(mount(Narrow).rule.anyOf).toEqual([["chat.moderate"], ["chat.use"]]);
    expect(mount(Middle).rule.anyOf).toEqual([["chat.use"]]);
    expect([...mount(Narrow).handlers.keys()]).toEqual(["ping"]);
  });

  test("does not inherit rules with inheritRules = false, which its subclasses do not inherit either", () => {
    class Base extends WebSocketView {
      static override permissionsRequired = [chat.use];
      ping = ping();
    }
    class Free extends Base {
      static override inheritRules = false;
      static override permissionsRequired = [chat.moderate];
    }
    class Below extends Free {
      static override allPermissionsRequired = [chat.use];
    }
    expect(mount(Free).rule.anyOf).toEqual([["chat.moderate"]]);
    expect(mount(Below).rule).toMatchObject({ anyOf: [["chat.moderate"]], allOf: ["chat.use"] });
  });

  test("uses each other option of the most derived class that sets it", () => {
    class Base extends WebSocketView {
      static override signedIn = true;
      static override handlerKey = "do";
      static override routeKey = "route";
      static override defaultChannel = "rooms/a";
      ping = ping();
    }
    class Child extends Base {
      static override handlerKey = "call";
    }
    expect(mount(Child)).toMatchObject({ handlerKey: "call", routeKey: "route", defaultChannel: "rooms/a" });
    expect(
      mount(
        class View extends WebSocketView {
          static override signedIn = true;
          ping = ping();
        },
      ),
    ).toMatchObject({
      handlerKey: "handler",
      routeKey: "action",
      defaultChannel: undefined,
    });
  });

  test("constructs each class once, for any number of views that extend it", () => {
    const constructed: string[] = [];
    class Base extends WebSocketView {
      static override signedIn = true;
      ping = ping();
      constructor() {
        super();
        constructed.push(new.target.name);
      }
    }
    class A extends Base {}
    class B extends Base {}
    mountAll({ "/a": A, "/b": B, "/a2": A });
    expect(constructed.sort()).toEqual(["A", "B", "Base"]);
  });

  test("accepts any single rule, receiveOnly without handlers, and any message field names", () => {
    expect(mount(viewWith({ signedIn: false, allPermissionsRequired: [chat.use] })).rule.allOf).toEqual([
      "chat.use",
    ]);
    expect(mount(viewWith({ signedIn: false, allowAnonymous: true })).rule.signedIn).toBe(false);
    class Receiving extends WebSocketView {
      static override signedIn = true;
      static override receiveOnly = true;
    }
    expect(mount(Receiving).handlers.size).toBe(0);
    expect(mount(viewWith({ handlerKey: "identity", routeKey: "__proto__x" }))).toMatchObject({
      handlerKey: "identity",
      routeKey: "__proto__x",
    });
  });

  test("accepts connect and disconnect as methods or as fields", () => {
    class Methods extends WebSocketView {
      static override signedIn = true;
      ping = ping();
      override connect() {}
      override disconnect() {}
    }
    expect(mount(Methods).view.connect).toBeTypeOf("function");
    expect(mount(viewWith({}, { connect: () => undefined })).view.connect).toBeTypeOf("function");
  });
});

describe("a handler that replaces one of a parent class", () => {
  class Base extends WebSocketView {
    static override signedIn = true;
    del: Handler = handler({ permissionsRequired: [chat.moderate] }, () => "base") as never;
    own: Handler = handler({ authorize: () => false }, () => "base") as never;
  }

  test("keeps the rule of the parent's handler", () => {
    class Child extends Base {
      override del = handler(() => "child") as never;
    }
    class Grandchild extends Child {
      override del = handler({ allPermissionsRequired: [chat.use] }, () => "grandchild") as never;
    }
    expect(mount(Child).handlers.get("del")?.rule).toEqual({
      signedIn: true,
      anyOf: [["chat.moderate"]],
      allOf: [],
    });
    expect(mount(Grandchild).handlers.get("del")?.rule).toEqual({
      signedIn: true,
      anyOf: [["chat.moderate"]],
      allOf: ["chat.use"],
    });
    expect(
      mount(Grandchild)
        .handlers.get("del")
        ?.run({} as never),
    ).toBe("grandchild");
  });

  test("keeps the authorize of the parent's handler", async () => {
    class Child extends Base {
      override own = handler({ authorize: () => true }, () => "child") as never;
    }
    class Silent extends Base {
      override own = handler(() => "child") as never;
    }
    expect(await mount(Child).handlers.get("own")?.authorize?.(context)).toBe(false);
    expect(await mount(Silent).handlers.get("own")?.authorize?.(context)).toBe(false);
  });

  test("drops the rule and the authorize of the parent with inheritRules: false", async () => {
    class Child extends Base {
      override del = handler({ inheritRules: false }, () => "child") as never;
      override own = handler({ inheritRules: false, signedIn: true }, () => "child") as never;
    }
    class Grandchild extends Child {
      override del = handler({ permissionsRequired: [chat.use] }, () => "grandchild") as never;
    }
    expect(mount(Child).handlers.get("del")?.rule).toEqual({ signedIn: false, anyOf: [], allOf: [] });
    expect(mount(Child).handlers.get("own")?.authorize).toBeUndefined();
    expect(mount(Grandchild).handlers.get("del")?.rule.anyOf).toEqual([["chat.use"]]);
  });

  test("calls an authorize that it inherits once", async () => {
    let calls = 0;
    class Counting extends WebSocketView {
      static override signedIn = true;
      own = handler({ authorize: () => ++calls > 0 }, () => "x");
    }
    class Child extends Counting {
      other = ping();
    }
    class Grandchild extends Child {}
    expect(await mount(Grandchild).handlers.get("own")?.authorize?.(context)).toBe(true);
    expect(calls).toBe(1);
  });

  test("keeps the rule of a handler that was made outside of the class", () => {
    const guarded = handler({ permissionsRequired: [chat.moderate] }, () => "x");
    const open = handler(() => "y");
    const Parent = viewWith({}, { del: guarded });
    expect(mount(viewWith({}, {}, Parent)).handlers.get("del")?.rule.anyOf).toEqual([["chat.moderate"]]);
    expect(mount(viewWith({}, { del: open }, Parent)).handlers.get("del")?.rule.anyOf).toEqual([
      ["chat.moderate"],
    ]);
  });

  test("keeps the authorize of the parent when a method or a shared value makes the handlers", async () => {
    class Setup extends WebSocketView {
      static override signedIn = true;
      constructor() {
        super();
        this.setup();
      }
      setup() {
        Object.assign(this, { del: handler({ authorize: () => false }, () => "base") });
      }
    }
    class Overriding extends Setup {
      override setup() {
        Object.assign(this, { del: handler(() => "child") });
      }
    }
    let shared: Handler | undefined;
    const guarded = () => {
      shared ??= handler({ authorize: () => false }, () => "base") as never;
      return shared as Handler;
    };
    class Sharing extends WebSocketView {
      static override signedIn = true;
      del: Handler = guarded();
    }
    class Replacing extends Sharing {
      override del = handler(() => "child") as never;
    }
    expect(await mount(Overriding).handlers.get("del")?.authorize?.(context)).toBe(false);
    expect(await mount(Replacing).handlers.get("del")?.authorize?.(context)).toBe(false);
  });

  test("keeps the authorize of the parent if both handlers have the same source text", async () => {
    /** Handlers with the same source text and different return values. */
    const made = (answer: boolean, run = "same") =>
      handler({ authorize: () => answer }, () => run) as unknown as Handler;
    const before = made(false);
    const after = made(true);
    const outside = viewWith({}, { del: after }, viewWith({}, { del: before }));
    class Later extends WebSocketView {
      static override signedIn = true;
      del = made(false);
    }
    class Last extends Later {
      override del = made(true);
    }
    const other = (answer: boolean, run = "same") =>
      handler({ authorize: () => !!answer }, () => run) as unknown as Handler;
    /** A class with a method that creates the handler, so the order of creation is the same. */
    const making = (first: () => Handler, second: () => Handler) => {
      class Setup extends WebSocketView {
        static override signedIn = true;
        constructor() {
          super();
          Object.assign(this, { del: this.make() });
        }
        make() {
          return first();
        }
      }
      return class Overriding extends Setup {
        override make() {
          return second();
        }
      };
    };
    const otherRun = (answer: boolean) =>
      handler({ authorize: () => answer }, () => `${"other"}`) as unknown as Handler;
    for (const View of [
      outside,
      Last,
      making(
        () => made(false),
        () => other(true),
      ),
      making(
        () => made(false),
        () => otherRun(true),
      ),
    ]) {
      expect(await mount(View).handlers.get("del")?.authorize?.(context)).toBe(false);
    }
  });

  test("calls both functions, and allows the call if both return true", async () => {
    const calls: string[] = [];
    const allowing = (name: string) => handler({ authorize: () => calls.push(name) > 0 }, () => name);
    class Parent extends WebSocketView {
      static override signedIn = true;
      del: Handler = allowing("parent") as never;
    }
    class Child extends Parent {
      override del = handler({ authorize: async () => calls.push("child") > 0 }, () => "child") as never;
    }
    expect(await mount(Child).handlers.get("del")?.authorize?.(context)).toBe(true);
    expect(calls).toEqual(["child", "parent"]);
  });

  test("calls the authorize of a handler that two classes share once", async () => {
    let calls = 0;
    const shared = handler({ authorize: () => ++calls > 0 }, () => "x");
    const View = viewWith({}, { own: shared }, viewWith({}, { own: shared }));
    expect(await mount(View).handlers.get("own")?.authorize?.(context)).toBe(true);
    expect(calls).toBe(1);
  });

  test("keeps the rule of a grandparent when a class between them deletes the handler", () => {
    class Deleting extends Base {
      constructor() {
        super();
        Reflect.deleteProperty(this, "del");
      }
      ping = ping();
    }
    class Declaring extends Deleting {
      override del = handler(() => "again") as never;
    }
    expect(mount(Deleting).handlers.has("del")).toBe(false);
    expect(mount(Declaring).handlers.get("del")?.rule.anyOf).toEqual([["chat.moderate"]]);
  });

  test("needs a body schema if the authorize that it keeps expects a validated body", () => {
    class Checked extends WebSocketView {
      static override signedIn = true;
      del: Handler = handler(
        { body: z.object({ message: z.int() }), authorize: ({ body }) => body.message === 1 },
        () => "base",
      ) as never;
    }
    class Unchecked extends Checked {
      override del = handler(() => "child") as never;
    }
    expect(() => mount(Unchecked)).toThrow(/Unchecked\.del replaces Checked\.del and keeps its authorize/);
    expect(() => mount(Unchecked)).toThrow(ConfigurationError);
  });
});

describe("the app does not start with a rule that would be lost:", () => {
  const rule = [chat.use];
  /** Misspelled rules, and the suggestion that the error must contain. */
  const misspelled: Record<string, RegExp> = {
    permissionRequired: /Did you mean "permissionsRequired"\?/,
    permission_required: /Did you mean "permissionsRequired"\?/,
    permissions_required: /Did you mean "permissionsRequired"\?/,
    PermissionsRequired: /Did you mean "permissionsRequired"\?/,
    PERMISSIONS_REQUIRED: /Did you mean "permissionsRequired"\?/,
    allPermissionRequired: /Did you mean "allPermissionsRequired"\?/,
    all_permissions_required: /Did you mean "allPermissionsRequired"\?/,
    requiredPermissions: /Did you mean "permissionsRequired"\?/,
    permissions: /Did you mean "permissionsRequired"\?/,
    allowedHandler: /Did you mean "allowedHandlers"\?/,
    allowHandlers: /Did you mean "allowedHandlers"\?/,
    ALLOWED_HANDLERS: /Did you mean "allowedHandlers"\?/,
    ADDITIONAL_ALLOWED_HANDLERS: /Did you mean "allowedHandlers"\?/,
    signed_in: /Did you mean "signedIn"\?/,
    default_channel_name: /Did you mean "defaultChannel"\?/,
    handler_selection_key: /Did you mean "handlerKey"\?/,
    route_selection_key: /Did you mean "routeKey"\?/,
    aws_api_gateway_id: /Only registered gateways can call the app/,
    CHANNEL_NAME_PATTERN: /defineChannel\(\)/,
    RATE_LIMIT_ENABLED: /createSallyport\(\{ limits \}\)/,
    RATE_LIMIT_MAX_ATTEMPTS: /limits: \{ connectsPerUser, connectsPerIp \}/,
    RATE_LIMIT_WINDOW_MINUTES: /createSallyport\(\{ limits \}\)/,
    MAX_BODY_SIZE: /128 KB/,
    required_headers: /connect\(\)/,
    authorize:
      /A view has no authorize\. Move it to the options of a handler or of defineChannel\(\), or check the user in connect\(\)/,
    onConnect: /Did you mean the method "connect"\?/,
    onOpen: /Did you mean the method "connect"\?/,
    login_required: /Did you mean "signedIn"\?/,
    permission_classes: /Did you mean "permissionsRequired"\?/,
    isAuthorized: /A view has no authorize/,
    sendRequired: /Give sendRequired to defineChannel/,
    something: /For your own data, use a #private field/,
  };

  test.each(Object.entries(misspelled))("%s as a static field", (name, words) => {
    expect(() => mount(viewWith({ [name]: rule }))).toThrow(words);
    expect(() => mount(viewWith({ [name]: rule }))).toThrow(ConfigurationError);
  });

  test.each(Object.entries(misspelled))("%s as an instance field", (name, words) => {
    expect(() => mount(viewWith({}, { [name]: rule }))).toThrow(words);
  });

  test.each(Object.keys(misspelled))("%s on a parent class", (name) => {
    expect(() => mount(viewWith({}, {}, viewWith({ [name]: rule })))).toThrow(`"${name}"`);
  });

  test.each(Object.keys(misspelled).filter((name) => name !== "something" && name !== "allowHandlers"))(
    "%s as a method or an accessor",
    (name) => {
      const method = viewWith({});
      Object.defineProperty(method.prototype, name, { value: () => false, configurable: true });
      const accessor = viewWith({});
      Object.defineProperty(accessor.prototype, name, { get: () => rule, configurable: true });
      const staticMethod = viewWith({});
      Object.defineProperty(staticMethod, name, { value: () => false, enumerable: false });
      const staticAccessor = viewWith({});
      Object.defineProperty(staticAccessor, name, { get: () => rule, enumerable: false });
      for (const View of [method, accessor, staticMethod, staticAccessor]) {
        expect(() => mount(View)).toThrow(ConfigurationError);
        expect(() => mount(View)).toThrow(`"${name}"`);
      }
    },
  );

  test.each(["permissionsRequired", "allPermissionsRequired", "signedIn", "allowedHandlers", "inheritRules"])(
    "%s as an instance field, a method or an accessor",
    (name) => {
      expect(() => mount(viewWith({}, { [name]: rule }))).toThrow(
        `View declares "${name}" as an instance field, where it has no effect. Write it as a static field: static ${name} = `,
      );
      const accessor = viewWith({});
      Object.defineProperty(accessor.prototype, name, { get: () => rule });
      expect(() => mount(accessor)).toThrow(`Write it as a static field: static ${name} = `);
      const staticAccessor = viewWith({});
      Object.defineProperty(staticAccessor, name, { get: () => rule });
      expect(() => mount(staticAccessor)).toThrow(ConfigurationError);
    },
  );

  test.each(["connect", "disconnect"])("a static %s", (name) => {
    const View = viewWith({});
    Object.defineProperty(View, name, { value: () => undefined, enumerable: false });
    expect(() => mount(View)).toThrow(`Write ${name}() as an instance method.`);
    expect(() => mount(viewWith({ [name]: () => undefined }))).toThrow(ConfigurationError);
    expect(() => mount(viewWith({}, { [name]: "x" }))).toThrow(ConfigurationError);
  });

  test("a value on the prototype", () => {
    const View = viewWith({});
    Object.assign(View.prototype, { permissionsRequired: rule });
    expect(() => mount(View)).toThrow(/static permissionsRequired = /);
  });

  test("B72 a value on the prototype that is no option, or a method named like a hook", () => {
    const View = viewWith({});
    Object.assign(View.prototype, { store: 5 });
    expect(() => mount(View)).toThrow('View has a public field "store", which is not a handler.');
    const slip = viewWith({});
    Object.defineProperty(slip.prototype, "conect", { value: () => undefined });
    expect(() => mount(slip)).toThrow(/method "conect", .* Did you mean the method "connect"\?/);
    const fine = viewWith({});
    Object.defineProperty(fine.prototype, "reconnectAll", { value: () => undefined });
    expect(() => mount(fine)).not.toThrow();
  });

  test("a private field or parameter property of TypeScript", () => {
    class View extends WebSocketView {
      static override signedIn = true;
      ping = ping();
      private readonly store = new Map();
      size() {
        return this.store.size;
      }
    }
    expect(() => mount(View)).toThrow(
      'View has a public field "store", which is not a handler. Fields that TypeScript calls private and parameter properties are public at run time. For your own data, use a #private field.',
    );
  });

  test("a static handler", () => {
    expect(() => mount(viewWith({ late: ping() }))).toThrow(/Handlers are instance fields: remove static/);
  });

  test("a field that hides the class's name", () => {
    expect(() =>
      mount(
        viewWith(
          {},
          {},
          class extends viewWith({}) {
            static override name = "x";
          },
        ),
      ),
    ).toThrow(/static field "name"/);
  });

  const rules = ["permissionsRequired", "allPermissionsRequired", "signedIn", "allowAnonymous"];
  test.each([...rules, "inheritRules", "allowedHandlers"])("%s = undefined on a view", (name) => {
    expect(() => mount(viewWith({ [name]: undefined }))).toThrow(
      new RegExp(
        `^View: ${name} is undefined\\. It must be .*\\. Give it a value, or leave it out if it is optional\\.$`,
      ),
    );
  });

  test.each([
    "permissionsRequired",
    "allPermissionsRequired",
    "signedIn",
    "authorize",
    "body",
    "inheritRules",
  ])("%s: undefined on a handler", (name) => {
    const guarded = handler({ [name]: undefined } as never, () => 1);
    expect(() => mount(viewWith({}, { guarded }))).toThrow(`View.guarded: ${name} is undefined.`);
  });

  test.each([...rules, "sendRequired", "authorize", "authorizeMany"])(
    "%s: undefined on a channel",
    (name) => {
      expect(() => defineChannel("x", { signedIn: true, [name]: undefined } as never)).toThrow(
        `channel "x": ${name} is undefined.`,
      );
    },
  );

  test.each(["yes", 1, "true", [], {}, null])("signedIn = %j", (value) => {
    expect(() => mount(viewWith({ signedIn: value }))).toThrow(
      /^View: signedIn must be true or false, but received/,
    );
    expect(() => defineChannel("x", { signedIn: value } as never)).toThrow(/signedIn must be true or false/);
    const guarded = handler({ signedIn: value } as never, () => 1);
    expect(() => mount(viewWith({}, { guarded }))).toThrow(/View\.guarded: signedIn must be true or false/);
  });

  test.each(["no", "false", 0, ""])("allowAnonymous = %j", (value) => {
    expect(() => mount(viewWith({ allowAnonymous: value }))).toThrow(/allowAnonymous must be true or false/);
    expect(() => defineChannel("x", { allowAnonymous: value } as never)).toThrow(/true or false/);
    const guarded = handler({ allowAnonymous: true } as never, () => 1);
    expect(() => mount(viewWith({}, { guarded }))).toThrow(
      /allowAnonymous is not an option\. A handler cannot be/,
    );
  });

  test.each([
    ["chat.use", /must be an array of permissions, but received "chat\.use"/],
    [[], /permissionsRequired is empty, so it would not restrict access/],
    [[undefined], /permissionsRequired\[0\] is undefined\. It must be a permission/],
    [[["chat.use"]], /permissionsRequired\[0\] must be a permission/],
    [new Set(["chat.use"]), /must be an array of permissions, but received an object of class Set/],
    [["chat.unknown"], /contains "chat\.unknown", which is not among the permissions/],
  ])("permissionsRequired = %j", (value, words) => {
    expect(() => mount(viewWith({ permissionsRequired: value }))).toThrow(words);
    const guarded = handler({ permissionsRequired: value } as never, () => 1);
    expect(() => mount(viewWith({}, { guarded }))).toThrow(words);
  });
});

describe("the app does not start with", () => {
  const cases: [string, () => unknown, RegExp][] = [
    [
      "a view without a rule",
      () =>
        class Silent extends WebSocketView {
          ping = ping();
        },
      /^Silent has no rule\. Add static permissionsRequired/,
    ],
    ["a view whose only rule is signedIn = false", () => viewWith({ signedIn: false }), /^View has no rule/],
    [
      "allowAnonymous beside a permission",
      () => viewWith({ signedIn: false, allowAnonymous: true, permissionsRequired: [chat.use] }),
      /sets both allowAnonymous and a permission/,
    ],
    [
      "allowAnonymous beside signedIn",
      () => viewWith({ allowAnonymous: true }),
      /both allowAnonymous and signedIn/,
    ],
    [
      "allowAnonymous on a view that inherits a permission",
      () => {
        class Base extends WebSocketView {
          static override permissionsRequired = [chat.use];
          ping = ping();
        }
        return class Open extends Base {
          static override allowAnonymous = true;
        };
      },
      /Open sets allowAnonymous, but inherits a rule .* static inheritRules = false/,
    ],
    [
      "allowAnonymous on a parent class only",
      () => {
        class Base extends WebSocketView {
          static override allowAnonymous = true;
          ping = ping();
        }
        return class Child extends Base {};
      },
      /^Child has no rule/,
    ],
    [
      "a listed handler that is not declared",
      () => viewWith({ allowedHandlers: ["pong"] }),
      /^View lists handler "pong" in allowedHandlers, but does not declare it\. Did you mean "ping"\? Add pong = handler\(\.\.\.\), or remove it/,
    ],
    [
      "allowedHandlers that is a text",
      () => viewWith({ allowedHandlers: "ping" }),
      /must be an array of handler names/,
    ],
    [
      "allowedHandlers with a number",
      () => viewWith({ allowedHandlers: [5] }),
      /allowedHandlers\[0\] must be the name/,
    ],
    [
      "a view without handlers",
      () =>
        class Mute extends WebSocketView {
          static override signedIn = true;
        },
      /^Mute has no handlers\. .* static receiveOnly = true/,
    ],
    [
      "receiveOnly beside handlers",
      () => viewWith({ receiveOnly: true }),
      /sets receiveOnly, but clients could call 1/,
    ],
    ["an empty allowedHandlers", () => viewWith({ allowedHandlers: [] }), /has no handlers/],
    ["a handler that begins with _", () => viewWith({}, { _secret: ping() }), /"_secret".* private/],
    ["a handler named then", () => viewWith({}, { [`the${"n"}`]: ping() }), /"then".*Rename/],
    ["a handler named like a member of every object", () => viewWith({}, { toString: ping() }), /"toString"/],
    ["a handler named like an option", () => viewWith({}, { signedIn: ping() }), /"signedIn"/],
    ["a handler named authorize", () => viewWith({}, { authorize: ping() }), /"authorize"/],
    [
      "a handler with an unknown option",
      () => viewWith({}, { a: handler({ permissionRequired: [] } as never, () => 1) }),
      /^View\.a: permissionRequired is not an option\. Did you mean "permissionsRequired"\?$/,
    ],
    [
      "a handler with a list as options",
      () => viewWith({}, { a: handler([] as never, () => 1) }),
      /^View\.a: the options must be a plain object, but received an array of 0\.$/,
    ],
    [
      "a handler with an authorize that is not a function",
      () => viewWith({}, { a: handler({ authorize: true } as never, () => 1) }),
      /View\.a: authorize must be a function/,
    ],
    [
      "a body that is not a Standard Schema",
      () => viewWith({}, { a: handler({ body: { parse: () => 1 } } as never, () => 1) }),
      /^View\.a: body must be a schema of a Standard Schema library/,
    ],
    [
      "a body whose ~standard is empty",
      () => viewWith({}, { a: handler({ body: { "~standard": {} } } as never, () => 1) }),
      /View\.a: body must be/,
    ],
    [
      "a defaultChannel that no definition matches",
      () => viewWith({ defaultChannel: "lobby" }),
      /^View: defaultChannel "lobby" matches no channel definition/,
    ],
    [
      "a defaultChannel that is not a channel name",
      () => viewWith({ defaultChannel: "bad name!" }),
      /defaultChannel "bad name!" matches no/,
    ],
    [
      "a defaultChannel that is not a text",
      () => viewWith({ defaultChannel: 5 }),
      /defaultChannel must be the name/,
    ],
    [
      "a handlerKey that is not a text",
      () => viewWith({ handlerKey: 5 }),
      /handlerKey must be the name of a message field/,
    ],
    ["an empty handlerKey", () => viewWith({ handlerKey: "" }), /handlerKey must be/],
    ["a handlerKey that is the call id", () => viewWith({ handlerKey: "id" }), /handlerKey must be/],
    ["a routeKey that no gateway can select", () => viewWith({ routeKey: "a.b" }), /routeKey must be/],
    [
      "a constructor with an argument",
      () =>
        class Needy extends WebSocketView {
          static override signedIn = true;
          ping = ping();
          constructor(store?: { name: string }) {
            super();
            if (!store) throw new Error("no store");
          }
        },
      /^Needy could not be constructed: no store\. .* without arguments/,
    ],
    [
      "a class without a parent for its static fields",
      () => {
        class Child extends viewWith({}) {}
        Object.setPrototypeOf(Child, null);
        return Child;
      },
      /inherits its methods from another class than its static fields/,
    ],
    [
      "a class whose name is hidden by a static method",
      () => {
        class Named extends WebSocketView {
          static override signedIn = true;
        }
        Object.defineProperty(Named, "name", { value: () => "x" });
        return Named;
      },
      /^A view without a name has no handlers/,
    ],
    [
      "a handler without a function, by its own message",
      () =>
        class Broken extends WebSocketView {
          static override signedIn = true;
          a = handler({} as never);
        },
      /^Broken could not be constructed: handler\(\) expects a function.* Correct the field of the view\.$/,
    ],
    [
      "a body that is null",
      () => viewWith({}, { a: handler({ body: null } as never, () => 1) }),
      /View\.a: body must be/,
    ],
    [
      "a body that is a string",
      () => viewWith({}, { a: handler({ body: "x" } as never, () => 1) }),
      /View\.a: body must be/,
    ],
    [
      "a class that inherits methods from another class than its static fields",
      () => {
        const Parent = viewWith({ permissionsRequired: [chat.use] });
        class Child {
          static signedIn = true;
          ping = ping();
        }
        Object.setPrototypeOf(Child.prototype, Parent.prototype);
        return Child;
      },
      /^Child inherits its methods from another class than its static fields/,
    ],
    [
      "a class that is not a view",
      () => class Other {},
      /^Other is not a view\. .* extends WebSocketView\. If it does, run npm ls sallyport/,
    ],
    ["the base class itself", () => WebSocketView, /is not a view/],
    ["no class", () => undefined, /is not a view/],
  ];

  test.each(cases)("%s", (_name, View, words) => {
    expect(() => mount(View())).toThrow(words);
    expect(() => mount(View())).toThrow(ConfigurationError);
  });

  test("a view path that is not a path", () => {
    for (const path of ["", "ws", "/ws/", "/ws/:id", "//ws", "/"]) {
      expect(() => mountAll({ [path]: viewWith({}) }), path).toThrow(/is not a path/);
    }
    expect(() => mountAll({})).toThrow(/views is empty/);
  });

  test("a handler without a function", () => {
    expect(() => handler({} as never)).toThrow(/handler\(\) expects a function/);
    expect(() => handler({}, undefined as never)).toThrow(/handler\(\) expects a function/);
  });
});

test("accepts schemas that are objects or functions", () => {
  const result = () => ({ value: {} });
  // ArkType's schemas are functions.
  const callable = Object.assign(() => undefined, {
    "~standard": { version: 1, vendor: "x", validate: result },
  });
  const View = viewWith(
    {},
    {
      a: handler({ body: z.object({ x: z.int() }) }, () => 1),
      b: handler({ body: callable as never }, () => 1),
    },
  );
  expect([...mount(View).handlers.keys()].sort()).toEqual(["a", "b", "ping"]);
});

describe("limits of views and handlers", () => {
  class Base extends WebSocketView {
    static override signedIn = true;
    static override limits: ViewLimits = { messagesPerUser: 30, connectsPerUser: 5, tokensPerUser: 2 };
    ping = handler({ limits: { messagesPerConnection: 10, messagesPerUser: 20 } }, () => 1);
  }

  test("are taken from the most derived class that sets each limit", () => {
    class Middle extends Base {
      static override limits: ViewLimits = { messagesPerUser: 60, messagesPerConnection: 7 };
    }
    class Derived extends Middle {
      static override limits = { connectsPerUser: false, messagesPerUser: 0 };
      override ping = handler({ limits: { messagesPerUser: false } }, () => 1) as never;
    }
    expect(mount(Base).limits).toEqual({ messagesPerUser: 30, connectsPerUser: 5, tokensPerUser: 2 });
    expect(mount(Derived).limits).toEqual({
      messagesPerUser: 0,
      connectsPerUser: false,
      messagesPerConnection: 7,
      tokensPerUser: 2,
    });
    expect(mount(Derived).handlers.get("ping")?.limits).toEqual({
      messagesPerConnection: 10,
      messagesPerUser: false,
    });
    expect(mount(viewWith({ limits: { connectsPerIp: 1 } }, {}, Base)).limits).toEqual({
      messagesPerUser: 30,
      connectsPerUser: 5,
      connectsPerIp: 1,
      tokensPerUser: 2,
    });
    expect(mount(viewWith({})).limits).toEqual({});
  });

  test("are inherited by a class and a handler that do not inherit rules", () => {
    const View = viewWith({ inheritRules: false }, { ping: handler({ inheritRules: false }, () => 1) }, Base);
    expect(mount(View).limits).toEqual({ messagesPerUser: 30, connectsPerUser: 5, tokensPerUser: 2 });
    expect(mount(View).handlers.get("ping")?.limits).toEqual({
      messagesPerConnection: 10,
      messagesPerUser: 20,
    });
  });

  test.each<[limits: unknown, words: RegExp]>([
    [
      { messagesPerUsr: 3 },
      /^View: limits\.messagesPerUsr is not an option\. Did you mean "messagesPerUser"\?$/,
    ],
    [
      { tokensPerUser: -3 },
      /^View: limits\.tokensPerUser must be a whole number per minute of at least 0, or false for no limit/,
    ],
    [{ messagesPerUser: undefined }, /^View: limits\.messagesPerUser is undefined\./],
    [
      { messagesPerUser: "3" },
      /^View: limits\.messagesPerUser must be a whole number per minute of at least 0, or false/,
    ],
    [{ connectsPerUser: -1 }, /limits\.connectsPerUser must be a whole number per minute/],
    [5, /^View: limits must be a plain object, but received 5\.$/],
    [undefined, /^View: limits must be a plain object, but received undefined\.$/],
  ])("of a view cannot be %j", (limits, words) => {
    expect(() => mount(viewWith({ limits }))).toThrow(words);
    expect(() => mount(viewWith({ limits }))).toThrow(ConfigurationError);
  });

  test.each<[limits: unknown, words: RegExp]>([
    [
      { messagesPerConection: 3 },
      /^View\.slow: limits\.messagesPerConection is not an option\. Did you mean "messagesPerConnection"\?$/,
    ],
    [
      { connectsPerIp: 3 },
      /^View\.slow: limits\.connectsPerIp is not an option\. A handler is called by messages, not by connects\. Set it in static limits of the view\.$/,
    ],
    [{ connectsPerUser: 3 }, /A handler is called by messages/],
    [{ failedConnectsPerIp: 3 }, /A handler is called by messages/],
    [
      { tokensPerUser: 3 },
      /^View\.slow: limits\.tokensPerUser is not an option\. A token opens a view, not a handler\. Set it in static limits of the view\.$/,
    ],
    [{ messagesPerUser: undefined }, /^View\.slow: limits\.messagesPerUser is undefined\./],
    [{ messagesPerUser: true }, /^View\.slow: limits\.messagesPerUser must be/],
  ])("of a handler cannot be %j", (limits, words) => {
    const slow = handler({ limits } as never, () => 1);
    expect(() => mount(viewWith({}, { slow }))).toThrow(words);
    expect(() => mount(viewWith({}, { slow }))).toThrow(ConfigurationError);
  });

  test("must be static fields", () => {
    expect(() => mount(viewWith({}, { limits: { messagesPerUser: 1 } }))).toThrow(
      'View declares "limits" as an instance field, where it has no effect. Write it as a static field: static limits = …',
    );
  });
});
