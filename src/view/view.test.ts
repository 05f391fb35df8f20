import { describe, expect, test } from "vitest";
import { definePermissions, PermissionCatalog } from "../access/permissions.ts";
import { ConfigurationError } from "../errors.ts";
import { mountViews } from "../lifecycle/mount-views.ts";
import { defineChannel } from "./channel.ts";
import { handler } from "./handlers.ts";
import { type ViewClass, WebSocketView } from "./view.ts";

const chat = definePermissions("chat", { use: "Use", moderate: "Moderate" });
const catalog = new PermissionCatalog([chat]);
const mount = (View: unknown) => {
  const mounted = mountViews({ "/ws": View as ViewClass }, catalog).get("/ws");
  if (!mounted) throw new Error("not mounted");
  return mounted;
};
const ping = () => handler(() => ({ ok: true }));

describe("a mounted view", () => {
  test("is one frozen instance whose handlers are its fields made by handler()", () => {
    class View extends WebSocketView {
      override signedIn = true;
      ping = ping();
      notAHandler = () => "x";
      method() {}
    }
    const { handlers, view, name } = mount(View);
    expect([...handlers.keys()]).toEqual(["ping"]);
    expect(Object.isFrozen(view)).toBe(true);
    expect(name).toBe("View");
  });

  test("narrows what it exposes by allowedHandlers", () => {
    class View extends WebSocketView {
      override signedIn = true;
      override allowedHandlers = ["a"];
      a = ping();
      b = ping();
    }
    expect([...mount(View).handlers.keys()]).toEqual(["a"]);
  });

  test("inherits handlers and ANDs the rules of its whole class chain", () => {
    class Base extends WebSocketView {
      override permissionsRequired = [chat.use];
      ping = ping();
    }
    class Middle extends Base {}
    class Narrow extends Middle {
      override permissionsRequired = [chat.moderate];
    }
    expect(mount(Narrow).rule.anyOf).toEqual([["chat.moderate"], ["chat.use"]]);
    expect(mount(Middle).rule.anyOf).toEqual([["chat.use"]]);
    expect([...mount(Narrow).handlers.keys()]).toEqual(["ping"]);
  });

  test("stands alone where it says inheritRules = false, and only that class", () => {
    class Base extends WebSocketView {
      override permissionsRequired = [chat.use];
      ping = ping();
    }
    class Free extends Base {
      override inheritRules = false;
      override permissionsRequired = [chat.moderate];
    }
    class Below extends Free {
      override allPermissionsRequired = [chat.use];
    }
    expect(mount(Free).rule.anyOf).toEqual([["chat.moderate"]]);
    // Below did not say it: what Free demands holds for it as well.
    expect(mount(Below).rule).toMatchObject({ anyOf: [["chat.moderate"]], allOf: ["chat.use"] });
  });

  test("reads rules that a constructor sets, and helpers with private state", () => {
    class View extends WebSocketView {
      #prefix = "x";
      constructor() {
        super();
        (this as { permissionsRequired?: unknown }).permissionsRequired = [chat.use];
      }
      ping = handler(() => this.#prefix);
    }
    expect(mount(View).rule.anyOf).toEqual([["chat.use"]]);
  });
});

describe("the app refuses to start with", () => {
  const cases: [string, () => unknown, RegExp][] = [
    [
      "a view that states no rule",
      () =>
        class Silent extends WebSocketView {
          ping = ping();
        },
      /Silent does not say who may use it/,
    ],
    [
      "an empty list",
      () =>
        class Empty extends WebSocketView {
          override permissionsRequired = [];
          ping = ping();
        },
      /Empty.*permissionsRequired is empty/,
    ],
    [
      "allowAnonymous beside a permission",
      () =>
        class Both extends WebSocketView {
          override allowAnonymous = true;
          override permissionsRequired = [chat.use];
          ping = ping();
        },
      /allowAnonymous beside a permission/,
    ],
    [
      "allowAnonymous on a view that inherits a permission",
      () => {
        class Base extends WebSocketView {
          override permissionsRequired = [chat.use];
          ping = ping();
        }
        return class Open extends Base {
          override allowAnonymous = true;
        };
      },
      /inheritRules = false/,
    ],
    [
      "allowAnonymous that only a parent says",
      () => {
        class Base extends WebSocketView {
          override allowAnonymous = true;
          ping = ping();
        }
        return class Child extends Base {};
      },
      /Child does not say who may use it/,
    ],
    [
      "an allowed name without handler",
      () =>
        class ChatView extends WebSocketView {
          override signedIn = true;
          override allowedHandlers = ["history"];
          ping = ping();
        },
      /ChatView allows handler 'history' but declares none of that name. Add history = handler/,
    ],
    [
      "a view without handlers",
      () =>
        class Mute extends WebSocketView {
          override signedIn = true;
        },
      /Mute has no handlers.*receiveOnly/,
    ],
    [
      "a handler that begins with _",
      () =>
        class View extends WebSocketView {
          override signedIn = true;
          _secret = ping();
        },
      /"_secret".*private/,
    ],
    [
      "a handler named then",
      () =>
        class View extends WebSocketView {
          override signedIn = true;
          // biome-ignore lint/suspicious/noThenProperty: what this test is about
          then = ping();
        },
      /"then".*framework/,
    ],
    [
      "a handler named like a member of every object",
      () =>
        class View extends WebSocketView {
          override signedIn = true;
          override toString = ping() as never;
        },
      /"toString"/,
    ],
    [
      "a rule under Python's name",
      () =>
        class View extends WebSocketView {
          override signedIn = true;
          permissions_required = [chat.use];
          ping = ping();
        },
      /"permissions_required" where it has no effect/,
    ],
    [
      "a static rule",
      () =>
        class View extends WebSocketView {
          static permissionsRequired = [chat.use];
          override signedIn = true;
          ping = ping();
        },
      /"permissionsRequired" where it has no effect/,
    ],
    [
      "a rule behind a getter",
      () => {
        class View extends WebSocketView {
          override signedIn = true;
          ping = ping();
        }
        Object.defineProperty(View.prototype, "allPermissionsRequired", { get: () => [chat.use] });
        return View;
      },
      /"allPermissionsRequired" where it has no effect/,
    ],
    ["something that is no view", () => class Other {}, /extends WebSocketView/],
    ["nothing", () => undefined, /is not a view/],
  ];

  test.each(cases)("%s", (_name, View, words) => {
    expect(() => mount(View())).toThrow(words);
    expect(() => mount(View())).toThrow(ConfigurationError);
  });

  test("a path that is none", () => {
    class View extends WebSocketView {
      override signedIn = true;
      ping = ping();
    }
    for (const path of ["", "ws", "/ws/", "/ws/:id", "//ws", "/"]) {
      expect(() => mountViews({ [path]: View }, catalog), path).toThrow(/is no path/);
    }
    expect(() => mountViews({}, catalog)).toThrow(/views is empty/);
  });
});

describe("a misspelt option is refused, not overlooked", () => {
  test("of a handler", () => {
    expect(() => handler({ permissionRequired: [chat.use] } as never, () => 1)).toThrow(
      /handler\(\) has no option "permissionRequired". Did you mean "permissionsRequired"\?/,
    );
    expect(() => handler({ allPermissionsRequired: undefined } as never, () => 1)).toThrow(/is undefined/);
  });

  test("of a channel", () => {
    expect(() => defineChannel("x", { signedIn: true, autorize: () => false } as never)).toThrow(
      /no option "autorize". Did you mean "authorize"\?/,
    );
  });
});
