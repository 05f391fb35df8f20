import fc from "fast-check";
import { CHANNELS, type Design, PERMISSIONS, USERS, VIEWS } from "./app.ts";
import type { Holder, Rule } from "./model.ts";
import type {
  AudienceDraft,
  ConnectAttempt,
  Draft,
  MessageFields,
  Question,
  Racer,
  RaceScenario,
  Removal,
  Scenario,
  Step,
} from "./steps.ts";
import type { Name } from "./world.ts";

const GROUPS = ["crew", "staff"];
const CLUBS = CHANNELS.filter((name) => name.startsWith("clubs/"));
const HANDLERS = [
  "open",
  "ruled",
  "owned",
  "look",
  "enter",
  "enter",
  "move",
  "exit",
  "say",
  "say",
  "tell",
  "check",
  "demand",
  "hidden",
];

const at = fc.constantFrom<Name>("A", "B");
const user = fc.constantFrom(...USERS);
const group = fc.constantFrom(...GROUPS);
const permission = fc.constantFrom<string>(...PERMISSIONS);
const some = fc.uniqueArray(permission, { minLength: 1, maxLength: 3 });
const few = fc.uniqueArray(permission, { minLength: 1, maxLength: 2 });
const club = fc.constantFrom<string>(...CLUBS);
const channel = fc.oneof(
  { weight: 15, arbitrary: fc.constantFrom<string>(...CHANNELS) },
  { weight: 5, arbitrary: club },
  { weight: 1, arbitrary: fc.constant("nowhere") },
);
const socket = fc.nat(30);
const login = fc
  .tuple(user, fc.constantFrom("phone", "laptop"))
  .map(([owner, device]) => `${owner}-${device}`);
/** Defined once in `once` draws, otherwise undefined. */
const maybe = <Value>(arbitrary: fc.Arbitrary<Value>, once = 2) =>
  fc.oneof({ weight: once - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
const lasts = maybe(fc.integer({ min: 1, max: 60_000 }), 3);
const rule: fc.Arbitrary<Rule> = fc.oneof(
  { weight: 3, arbitrary: some.map((any) => ({ any })) },
  { weight: 2, arbitrary: few.map((all) => ({ all })) },
  { weight: 1, arbitrary: fc.tuple(some, few).map(([any, all]) => ({ any, all })) },
  { weight: 1, arbitrary: fc.constant({ signedIn: true }) },
);
const maybeRule: fc.Arbitrary<Rule> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  { weight: 2, arbitrary: rule },
);
/** The requirement of a send. */
const required: fc.Arbitrary<Rule> = maybeRule.map(({ any, all }) => ({
  ...(any ? { any } : {}),
  ...(all ? { all } : {}),
}));
const broad = fc.constant<AudienceDraft>("everyone");
const narrow: fc.Arbitrary<AudienceDraft> = socket.map((number) => ({ socket: number }));
const to: fc.Arbitrary<AudienceDraft> = fc.oneof(
  { weight: 2, arbitrary: channel.map((name) => ({ channel: name })) },
  { weight: 4, arbitrary: fc.nat(20).map((number) => ({ joined: number })) },
  { weight: 2, arbitrary: user.map((name) => ({ user: name })) },
  { weight: 1, arbitrary: narrow },
  { weight: 2, arbitrary: permission.map((name) => ({ permission: name })) },
  { weight: 2, arbitrary: fc.constant("everyone" as const) },
);

/** Omits undefined fields, as apps do. */
const given = <Value extends object>(arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value> =>
  arbitrary.map(
    (value) => Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Value,
  );

const holder: fc.Arbitrary<Holder> = fc.oneof(
  { weight: 2, arbitrary: user },
  { weight: 1, arbitrary: group.map((name) => ({ group: name })) },
);
type Kind<Name extends Draft["kind"]> = Extract<Draft, { kind: Name }>;
const kind = <Name extends Draft["kind"]>(name: Name) => fc.constant(name);
const removeExisting = fc.record({ kind: kind("remove-existing"), number: fc.nat(50) });
const change: fc.Arbitrary<Draft> = fc.oneof(
  {
    weight: 26,
    arbitrary: given(fc.record({ kind: kind("grant"), holder, permission, lasts })) as fc.Arbitrary<
      Kind<"grant">
    >,
  },
  { weight: 14, arbitrary: removeExisting },
  { weight: 4, arbitrary: fc.record({ kind: kind("revoke"), holder, permission }) },
  {
    weight: 6,
    arbitrary: given(fc.record({ kind: kind("add-to-group"), user, group, lasts })) as fc.Arbitrary<
      Kind<"add-to-group">
    >,
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("remove-from-group"), user, group }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("create-group"), group }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("delete-group"), group }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind("set-active"),
      user,
      active: fc.oneof({ weight: 2, arbitrary: fc.constant(true) }, fc.constant(false)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: kind("set-superuser"), user, superuser: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("delete-user"), user }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("end-session"), session: login }) },
  { weight: 3, arbitrary: fc.record({ kind: kind("recheck"), user }) },
  { weight: 3, arbitrary: fc.record({ kind: kind("recheck"), channel: club }) },
);

const connectAttempt = given(
  fc.record({
    view: fc.constantFrom<string>(...VIEWS),
    user: fc.oneof({ weight: 7, arbitrary: user }, fc.constant(null)),
    login: fc.constantFrom("phone", "laptop"),
    channel: maybe(channel, 3),
    token: fc.oneof(
      { weight: 16, arbitrary: fc.constant("fresh" as const) },
      { weight: 3, arbitrary: fc.constant("held" as const) },
      { weight: 1, arbitrary: fc.constant("none" as const) },
    ),
    held: fc.nat(5),
    cookie: maybe(user, 15),
    forged: maybe(fc.constantFrom("origin" as const, "secret" as const), 25),
  }),
) as fc.Arbitrary<ConnectAttempt>;

const messageFields = given(
  fc.record({
    name: fc.constantFrom(...HANDLERS),
    channel: fc.oneof({ weight: 7, arbitrary: channel }, fc.constant(undefined)),
    club,
    to,
    required,
    permission,
  }),
) as fc.Arbitrary<MessageFields>;

const question = fc.oneof(
  given(fc.record({ kind: fc.constant("holders"), permission, channel: maybe(channel) })),
  fc.record({ kind: fc.constant("who can"), permission }),
  given(fc.record({ kind: fc.constant("has"), user, permission, channel: maybe(channel) })),
  given(
    fc.record({
      kind: fc.constant("why"),
      user: fc.oneof({ weight: 5, arbitrary: user }, fc.constant(null)),
      view: fc.constantFrom<string>(...VIEWS),
      handler: fc.constantFrom("open", "ruled", "owned"),
      channel: maybe(channel),
    }),
  ),
  fc.record({ kind: fc.constant("preview"), to, required }),
  fc.record({ kind: fc.constant("rows") }),
) as fc.Arbitrary<Question>;

const step = fc.oneof(
  {
    weight: 22,
    arbitrary: fc.record({
      do: fc.constant("change"),
      by: at,
      change,
      previewed: fc.oneof({ weight: 2, arbitrary: fc.constant(false) }, fc.constant(true)),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("change"),
      by: fc.constant("killed"),
      // Mostly existing grants, so that sockets without permissions stay open for a while.
      change: fc.oneof({ weight: 3, arbitrary: removeExisting }, { weight: 1, arbitrary: change }),
      previewed: fc.constant(false),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("data"), club, user, isIn: fc.boolean() }) },
  {
    weight: 6,
    arbitrary: given(
      fc.record({
        do: fc.constant("token"),
        at,
        user,
        login: fc.constantFrom("phone", "laptop"),
        view: maybe(fc.constantFrom<string>(...VIEWS)),
        channel: maybe(channel),
      }),
    ),
  },
  { weight: 20, arbitrary: fc.record({ do: fc.constant("connect"), at, attempt: connectAttempt }) },
  {
    weight: 60,
    arbitrary: given(
      fc.record({
        do: fc.constant("message"),
        at,
        socket,
        route: maybe(fc.constantFrom<string>(...VIEWS), 12),
        fields: messageFields,
        isCall: fc.boolean(),
      }),
    ),
  },
  { weight: 24, arbitrary: fc.record({ do: fc.constant("send"), at, to, required }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("close"), at, to: fc.oneof(narrow, to) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("disconnect"), at, socket }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose"), socket }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("wait"),
      ms: fc.oneof(
        { weight: 60, arbitrary: fc.integer({ min: 1, max: 12_000 }) },
        { weight: 24, arbitrary: fc.integer({ min: 15_001, max: 70_000 }) },
        { weight: 2, arbitrary: fc.integer({ min: 1_800_000, max: 7_600_000 }) },
      ),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("enforce"), at }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("ask"), at, question }) },
) as fc.Arbitrary<Step>;

const design: fc.Arbitrary<Design> = fc.record({
  any: some,
  all: few,
  bothAny: some,
  bothAll: few,
  child: maybeRule,
  ruled: rule,
  owned: maybeRule,
  rooms: maybeRule,
  red: rule,
  clubs: maybeRule,
  hook: fc.constantFrom("joining", "receiving"),
  news: some,
  defaultChannel: maybe(fc.constantFrom("lobby", "rooms/blue")),
});

const enrolling = fc.record({ do: fc.constant("data"), club, user, isIn: fc.constant(true) });

/** Most scenarios begin with some grants and sockets, so that there is access to lose. */
const beginning = fc
  .tuple(
    fc.array(
      fc.oneof(
        { weight: 3, arbitrary: fc.record({ kind: kind("grant"), holder, permission }) },
        { weight: 1, arbitrary: fc.record({ kind: kind("add-to-group"), user, group }) },
      ),
      { maxLength: 16, size: "max" },
    ),
    fc.array(enrolling, { maxLength: 8, size: "max" }),
    fc.array(fc.record({ do: fc.constant("connect"), at, attempt: connectAttempt }), {
      maxLength: 14,
      size: "max",
    }),
  )
  .map(([changes, data, connects]) => [
    ...changes.map((made) => ({ do: "change", by: "A", change: made, previewed: false })),
    ...data,
    ...connects,
  ]) as fc.Arbitrary<Step[]>;

/** 300 steps on average, so that sockets and grants accumulate. */
export const scenarios: fc.Arbitrary<Scenario> = fc.record({
  design,
  sample: fc.oneof({ weight: 7, arbitrary: fc.constant(false) }, fc.constant(true)),
  steps: fc
    .tuple(beginning, fc.array(step, { minLength: 1, maxLength: 600, size: "max" }))
    .map((parts) => parts.flat()),
});

const removal: fc.Arbitrary<Removal> = fc.oneof(
  { weight: 8, arbitrary: removeExisting },
  { weight: 1, arbitrary: fc.record({ kind: kind("delete-group"), group }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("set-active"), user, active: fc.constant(false) }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("set-superuser"), user, superuser: fc.constant(false) }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("delete-user"), user }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("end-session"), session: login }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("out" as const), club, user, all: fc.boolean() }) },
);

/** Handlers that do not leave a channel. Most of them wait for a hook. */
const RACING = ["owned", "owned", "enter", "enter", "enter", "ruled", "look", "say", "tell", "check", "open"];

const after = fc.nat(20);
const racer = fc.oneof(
  { weight: 5, arbitrary: fc.record({ race: fc.constant("remove"), after, by: at, removal }) },
  {
    weight: 8,
    arbitrary: fc.record({
      race: fc.constant("send"),
      after,
      at,
      to: fc.oneof(broad, to),
      required: fc.oneof(
        required,
        some.map((any) => ({ any })),
      ),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      race: fc.constant("message"),
      after,
      at,
      socket,
      fields: fc.tuple(messageFields, fc.constantFrom(...RACING)).map(([one, name]) => ({ ...one, name })),
    }),
  },
  {
    weight: 4,
    arbitrary: given(
      fc.record({
        race: fc.constant("connect"),
        after,
        at,
        view: fc.constantFrom<string>(...VIEWS),
        user,
        channel: maybe(channel),
      }),
    ),
  },
) as fc.Arbitrary<Racer>;

const entering = fc.record({
  do: fc.constant("message"),
  at,
  socket,
  fields: messageFields.map((one) => ({ ...one, name: "enter" })),
  isCall: fc.constant(true),
}) as fc.Arbitrary<Step>;

export const raceScenarios: fc.Arbitrary<RaceScenario> = fc.record({
  design,
  waits: fc.integer({ min: 1 }),
  steps: fc
    .tuple(
      beginning,
      fc.array(enrolling, { minLength: 4, maxLength: 12, size: "max" }),
      fc.array(entering, { minLength: 4, maxLength: 16, size: "max" }),
      fc.array(racer, { minLength: 4, maxLength: 20, size: "max" }),
    )
    .map((parts) => parts.flat()),
});
