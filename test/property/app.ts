import type { Requirement } from "../../src/delivery/audience.ts";
import { definePermissions, type Permission } from "../../src/permissions/define.ts";
import type { ChannelDefinition } from "../../src/views/channel.ts";
import { defineChannel } from "../../src/views/channel.ts";
import type { MessageContext } from "../../src/views/context.ts";
import { handler } from "../../src/views/handler.ts";
import { type ViewClass, WebSocketView } from "../../src/views/view.ts";
import type { Audience, Channel, ModelState, Rule, View } from "./model.ts";

/** The rules of the app under test. Each world draws its own. */
export interface Design {
  /**
   * Permissions of the views that require any of them, all of them, or both. `child` is the own
   * rule of the view `/child`, which inherits from the first view.
   */
  readonly any: readonly string[];
  readonly all: readonly string[];
  readonly bothAny: readonly string[];
  readonly bothAll: readonly string[];
  readonly child: Rule;
  /** Rules of handlers, in addition to those of their views. */
  readonly ruled: Rule;
  readonly owned: Rule;
  readonly rooms: Rule;
  /** The rule of a second definition that matches one of the rooms. */
  readonly red: Rule;
  readonly clubs: Rule;
  readonly hook: "joining" | "receiving";
  readonly news: readonly string[];
  /** Default channel of the first view and of its child. */
  readonly defaultChannel: string | undefined;
}

export const p = definePermissions("p", { a: "A", b: "B", c: "C", d: "D" });
export const PERMISSIONS: readonly Permission[] = [p.a, p.b, p.c, p.d];
export const USERS = ["ann", "bob", "cat", "dan"];
export const VIEWS = ["/any", "/all", "/both", "/child", "/signed", "/open"] as const;
export const CHANNELS = ["rooms/red", "rooms/blue", "clubs/one", "clubs/two", "news", "lobby"] as const;

/** A handler that was called, and the socket that called it. */
export interface Ran {
  readonly name: string;
  readonly socket: string;
  /** The number of the message. */
  readonly n: number | undefined;
}

/** The rules of the app as the reference model reads them. */
export function rulesOf(design: Design): Pick<ModelState, "views" | "channels"> {
  const first = { any: design.any };
  const rules: Record<(typeof VIEWS)[number], readonly Rule[]> = {
    "/any": [first],
    "/all": [{ all: design.all }],
    "/both": [{ any: design.bothAny, all: design.bothAll }],
    "/child": [design.child, first],
    "/signed": [{ signedIn: true }],
    "/open": [{}],
  };
  const handlers: View["handlers"] = Object.fromEntries(UNRESTRICTED.map((name) => [name, { rule: {} }]));
  handlers.ruled = { rule: design.ruled };
  handlers.owned = { rule: design.owned, ofClub: true };
  const channels: Channel[] = [
    { pattern: "rooms/:slug", rule: design.rooms },
    { pattern: "rooms/red", rule: design.red },
    { pattern: "clubs/:name", rule: design.clubs, hook: design.hook },
    { pattern: "news", rule: { signedIn: true }, send: design.news },
    { pattern: "lobby", rule: {} },
  ];
  const views = Object.fromEntries(VIEWS.map((path) => [path, { rules: rules[path], handlers }]));
  return { views, channels };
}

const UNRESTRICTED = ["open", "look", "enter", "move", "exit", "say", "tell", "check", "demand"];

/**
 * Connects the app to the test. `pause` lets the app yield at its hooks and is set only for races.
 */
export interface AppPorts {
  readonly state: () => ModelState;
  readonly ran: (ran: Ran) => void;
  readonly pause?: (() => Promise<void>) | undefined;
}

/** The same rules as an app declares them. */
export function appOf(
  design: Design,
  ports: AppPorts,
): { views: Record<string, ViewClass>; channels: ChannelDefinition[] } {
  const { views, channels } = rulesOf(design);
  const fields = handlersOf(design, ports);
  const declared: Record<string, ViewClass> = {};
  for (const path of VIEWS) {
    const [own = {}] = views[path]?.rules ?? [];
    const rule = path === "/open" ? { allowAnonymous: true } : declaration(own);
    const start = path === "/any" && design.defaultChannel ? { defaultChannel: design.defaultChannel } : {};
    declared[path] =
      path === "/child"
        ? viewClass(path, rule, {}, declared["/any"])
        : viewClass(path, { ...rule, ...start, allowedHandlers: ALLOWED }, fields);
  }
  return { views: declared, channels: channels.map((channel) => channelOf(channel, ports)) };
}

const ALLOWED = [...UNRESTRICTED, "ruled", "owned"];

function viewClass(
  path: string,
  options: object,
  handlers: object = {},
  Parent: ViewClass = WebSocketView as unknown as ViewClass,
): ViewClass {
  const name = `View${path.slice(1)}`;
  const made = {
    [name]: class extends Parent {
      constructor() {
        super();
        Object.assign(this, handlers);
      }
    },
  };
  return Object.assign(made[name] as ViewClass, options);
}

function declaration({ any, all, signedIn }: Rule): Requirement & { signedIn?: boolean } {
  return {
    ...(any ? { permissionsRequired: any as Permission[] } : {}),
    ...(all ? { allPermissionsRequired: all as Permission[] } : {}),
    ...(signedIn ? { signedIn } : {}),
  };
}

/** Converts a rule to the requirement that `send()` accepts. */
export const requirement = (rule: Rule): Requirement => declaration(rule);

function channelOf({ pattern, rule, send, hook }: Channel, { state, pause }: AppPorts): ChannelDefinition {
  // Each hook reads the data first and returns its answer later.
  const isIn = async (club: string, user: string | undefined) => {
    const answer = user !== undefined && !!state().clubs.get(club)?.has(user);
    await pause?.();
    return answer;
  };
  const receivers = async ({ userIds, channel }: { userIds: readonly string[]; channel: string }) => {
    const answer = userIds.filter((user) => state().clubs.get(channel)?.has(user));
    await pause?.();
    return answer;
  };
  const none = !rule.any && !rule.all && !rule.signedIn;
  return defineChannel(pattern, {
    ...declaration(rule),
    ...(none && !hook ? { allowAnonymous: true } : {}),
    ...(send ? { sendRequired: send as Permission[] } : {}),
    ...(hook === "joining" ? { authorize: ({ user, channel }) => isIn(channel, user.id) } : {}),
    ...(hook === "receiving" ? { authorizeMany: receivers } : {}),
  });
}

/** The fields of a message. Each handler reads those that it needs. */
export interface Fields {
  readonly channel?: string;
  readonly club?: string;
  readonly to?: Audience;
  readonly required?: Rule;
  readonly permission?: string;
  readonly n?: number;
}

function handlersOf(design: Design, { state, ran, pause }: AppPorts): object {
  type Context = MessageContext<Fields>;
  const make = handler as unknown as (options: object, run: (context: Context) => unknown) => unknown;
  const declare = (name: string, run: (context: Context) => unknown, options: object = {}) =>
    make(options, async (context) => {
      ran({ name, socket: context.connection.connectionId, n: context.body.n });
      await pause?.();
      return run(context);
    });
  const note = (n: number | undefined) => ({ type: "note", n });
  return {
    connect: () => pause?.(),
    open: declare("open", () => "open"),
    ruled: declare("ruled", () => "ruled", declaration(design.ruled)),
    owned: declare("owned", () => "owned", {
      ...declaration(design.owned),
      authorize: async ({ user, body }: Context) => {
        await pause?.();
        return !!state()
          .clubs.get(body.club ?? "")
          ?.has(user.id ?? "");
      },
    }),
    look: declare("look", ({ user, connection }) => ({
      user: user.id ?? null,
      permissions: PERMISSIONS.filter((permission) => user.hasPermission(permission)),
      channels: connection.channels,
    })),
    enter: declare("enter", ({ join, body }) => join(body.channel ?? "")),
    move: declare("move", ({ move, body }) => move(body.channel ?? "")),
    exit: declare("exit", ({ leave, body }) => leave(body.channel)),
    say: declare("say", ({ to, body: { channel = "", required = {}, n } }) =>
      to({ channel }, requirement(required)).send(note(n)),
    ),
    tell: declare("tell", ({ to, body: { to: audience, required = {}, n } }) =>
      to(audience as never, requirement(required)).send(note(n)),
    ),
    check: declare("check", ({ requireChannel, body }) => requireChannel(body.channel ?? "")),
    demand: declare("demand", ({ user, body }) => user.require(body.permission as Permission).id),
    hidden: declare("hidden", () => "hidden"),
  };
}
