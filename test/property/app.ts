import type { Requirement } from "../../src/delivery/audience.ts";
import { definePermissions, type Permission } from "../../src/permissions/define.ts";
import type { ChannelDefinition } from "../../src/views/channel.ts";
import { defineChannel } from "../../src/views/channel.ts";
import type { MessageContext } from "../../src/views/context.ts";
import { handler } from "../../src/views/handler.ts";
import { type ViewClass, WebSocketView } from "../../src/views/view.ts";
import type { Audience, Channel, Facts, Rule, View } from "./oracle.ts";

/** What the story's app demands: drawn anew for each world. */
export interface Design {
  /** ANY of these, ALL of these, both lists, and what a child adds to the first. */
  readonly any: readonly string[];
  readonly all: readonly string[];
  readonly bothAny: readonly string[];
  readonly bothAll: readonly string[];
  readonly child: Rule;
  /** Handlers' own rules, on top of their views'. */
  readonly ruled: Rule;
  readonly owned: Rule;
  readonly rooms: Rule;
  /** A second definition for one of the rooms. */
  readonly red: Rule;
  readonly clubs: Rule;
  readonly asks: "joining" | "receiving";
  readonly news: readonly string[];
  /** Where sockets of the first view go that name no channel. */
  readonly defaultChannel: string | undefined;
}

export const p = definePermissions("p", { a: "A", b: "B", c: "C", d: "D" });
export const PERMISSIONS: readonly Permission[] = [p.a, p.b, p.c, p.d];
export const USERS = ["ann", "bob", "cat", "dan"];
export const VIEWS = ["/any", "/all", "/both", "/child", "/signed", "/open"] as const;
export const CHANNELS = ["rooms/red", "rooms/blue", "clubs/one", "clubs/two", "news", "lobby"] as const;

/** A handler that ran, and for which socket. */
export interface Ran {
  readonly name: string;
  readonly socket: string;
  /** Which message it was. */
  readonly n: number | undefined;
}

/** The rules once as the oracle reads them. */
export function rulesOf(design: Design): Pick<Facts, "views" | "channels"> {
  const first = { any: design.any };
  const rules: Record<(typeof VIEWS)[number], readonly Rule[]> = {
    "/any": [first],
    "/all": [{ all: design.all }],
    "/both": [{ any: design.bothAny, all: design.bothAll }],
    "/child": [design.child, first],
    "/signed": [{ signedIn: true }],
    "/open": [{}],
  };
  const handlers: View["handlers"] = Object.fromEntries(EVERYBODYS.map((name) => [name, { rule: {} }]));
  handlers.ruled = { rule: design.ruled };
  handlers.owned = { rule: design.owned, ofClub: true };
  const channels: Channel[] = [
    { pattern: "rooms/:slug", rule: design.rooms },
    { pattern: "rooms/red", rule: design.red },
    { pattern: "clubs/:name", rule: design.clubs, asks: design.asks },
    { pattern: "news", rule: { signedIn: true }, send: design.news },
    { pattern: "lobby", rule: {} },
  ];
  const views = Object.fromEntries(VIEWS.map((path) => [path, { rules: rules[path], handlers }]));
  return { views, channels };
}

const EVERYBODYS = ["open", "look", "enter", "move", "exit", "say", "tell", "check", "demand"];

/** How the app's own code lets others go first: the stories of races do, the others do not. */
export interface AppPorts {
  readonly facts: () => Facts;
  readonly ran: (ran: Ran) => void;
  readonly pause?: (() => Promise<void>) | undefined;
}

/** The same rules once more, as an app's author declares them. */
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

const ALLOWED = [...EVERYBODYS, "ruled", "owned"];

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

/** A send's requirement as the face takes it. */
export const requirement = (rule: Rule): Requirement => declaration(rule);

function channelOf({ pattern, rule, send, asks }: Channel, { facts, pause }: AppPorts): ChannelDefinition {
  // Each answers from the data of one moment, and takes its time to say so.
  const isIn = async (club: string, user: string | undefined) => {
    const answer = user !== undefined && !!facts().clubs.get(club)?.has(user);
    await pause?.();
    return answer;
  };
  const receivers = async ({ userIds, channel }: { userIds: readonly string[]; channel: string }) => {
    const answer = userIds.filter((user) => facts().clubs.get(channel)?.has(user));
    await pause?.();
    return answer;
  };
  const none = !rule.any && !rule.all && !rule.signedIn;
  return defineChannel(pattern, {
    ...declaration(rule),
    ...(none && !asks ? { allowAnonymous: true } : {}),
    ...(send ? { sendRequired: send as Permission[] } : {}),
    ...(asks === "joining" ? { authorize: ({ user, channel }) => isIn(channel, user.id) } : {}),
    ...(asks === "receiving" ? { authorizeMany: receivers } : {}),
  });
}

/** What a message may carry; each handler takes what it needs. */
export interface Fields {
  readonly channel?: string;
  readonly club?: string;
  readonly to?: Audience;
  readonly required?: Rule;
  readonly permission?: string;
  readonly n?: number;
}

function handlersOf(design: Design, { facts, ran, pause }: AppPorts): object {
  type Context = MessageContext<Fields>;
  const make = handler as unknown as (options: object, run: (context: Context) => unknown) => unknown;
  const told = (name: string, run: (context: Context) => unknown, options: object = {}) =>
    make(options, async (context) => {
      ran({ name, socket: context.connection.connectionId, n: context.body.n });
      await pause?.();
      return run(context);
    });
  const note = (n: number | undefined) => ({ type: "note", n });
  return {
    connect: () => pause?.(),
    open: told("open", () => "open"),
    ruled: told("ruled", () => "ruled", declaration(design.ruled)),
    owned: told("owned", () => "owned", {
      ...declaration(design.owned),
      authorize: async ({ user, body }: Context) => {
        await pause?.();
        return !!facts()
          .clubs.get(body.club ?? "")
          ?.has(user.id ?? "");
      },
    }),
    look: told("look", ({ user, connection }) => ({
      user: user.id ?? null,
      permissions: PERMISSIONS.filter((permission) => user.hasPermission(permission)),
      channels: connection.channels,
    })),
    enter: told("enter", ({ join, body }) => join(body.channel ?? "")),
    move: told("move", ({ move, body }) => move(body.channel ?? "")),
    exit: told("exit", ({ leave, body }) => leave(body.channel)),
    say: told("say", ({ to, body: { channel = "", required = {}, n } }) =>
      to({ channel }, requirement(required)).send(note(n)),
    ),
    tell: told("tell", ({ to, body: { to: audience, required = {}, n } }) =>
      to(audience as never, requirement(required)).send(note(n)),
    ),
    check: told("check", ({ requireChannel, body }) => requireChannel(body.channel ?? "")),
    demand: told("demand", ({ user, body }) => user.require(body.permission as Permission).id),
    hidden: told("hidden", () => "hidden"),
  };
}
