import type { Access } from "../../src/admin/access.ts";
import type { AccessPreview } from "../../src/admin/preview.ts";
import type { Permission } from "../../src/permissions/define.ts";
import { isPostgres } from "../postgres/database.ts";
import { PERMISSIONS, USERS } from "./app.ts";
import { same } from "./disagreement.ts";
import { type Consequence, known } from "./facts.ts";
import { judgeStepAgain } from "./judged-again.ts";
import * as oracle from "./oracle.ts";
import type { Question } from "./steps.ts";
import type { World } from "./world.ts";

/** Asks the core, and compares its answer with the oracle's. */
export async function ask(access: Access, facts: oracle.Facts, question: Question): Promise<void> {
  switch (question.ask) {
    case "holders": {
      const { permission, channel } = question;
      const object = objectOf(facts, channel);
      const core = await access.users.withPermission(permission as Permission, object && { object });
      same(
        "holders",
        core,
        USERS.filter((user) => hasFor(facts, user, permission, object?.channel)),
      );
      return;
    }
    case "has": {
      const { user, permission, channel } = question;
      const object = objectOf(facts, channel);
      const core = await access.users.hasPermission(
        user,
        permission as Permission,
        ...(object ? [object] : []),
      );
      same("has", core, hasFor(facts, user, permission, object?.channel));
      return;
    }
    case "who can":
      return askWhoCan(access, facts, question.permission);
    case "why":
      return askWhy(access, facts, question);
  }
}

/** Asking about a channel that there is not is a mistake, and no question. */
function objectOf(facts: oracle.Facts, channel: string | undefined): { channel: string } | undefined {
  return channel !== undefined && oracle.exists(facts, channel) ? { channel } : undefined;
}

function hasFor(facts: oracle.Facts, user: string, permission: string, channel: string | undefined): boolean {
  if (!oracle.has(facts, user, permission)) return false;
  return channel === undefined || oracle.mayEnter(facts, user, channel);
}

async function askWhoCan(access: Access, facts: oracle.Facts, permission: string): Promise<void> {
  const lasts = (end: number | null | undefined) => end === null || (end !== undefined && end > facts.now);
  const wanted = USERS.filter((user) => oracle.has(facts, user, permission)).map((user) => {
    const { grants, groups, superuser } = known(facts, user);
    const through = [...groups]
      .filter(([group, end]) => lasts(end) && lasts(facts.groups.get(group)?.get(permission)))
      .map(([group]) => group);
    const direct = lasts(grants.get(permission)) ? ["directly"] : [];
    return { user, isSuperuser: superuser, from: [...direct, ...through].sort() };
  });
  const core = (await access.permissions.holders(permission as Permission)).map(
    ({ user, isSuperuser, grants }) => ({
      user,
      isSuperuser,
      from: grants.map(({ group }) => group ?? "directly").sort(),
    }),
  );
  same("who can", core, wanted);
}

async function askWhy(
  access: Access,
  facts: oracle.Facts,
  { user, view, handler, channel }: Extract<Question, { ask: "why" }>,
): Promise<void> {
  const object = objectOf(facts, channel);
  const met = afterMeeting(facts, user);
  const { verdict, steps } = await access.explain({ user, view, handler, ...object });
  const rule = facts.views[view]?.handlers[handler]?.rule ?? {};
  const allowed =
    oracle.mayUse(met, user, view) &&
    oracle.passes(met, user, rule) &&
    (object === undefined || oracle.mayEnter(met, user, object.channel));
  same("why", verdict, allowed ? "allowed" : "denied");
  for (const step of steps) judgeStepAgain(step, met);
}

/** Somebody never met is asked about as the gate would see them: the first token makes an active user without rights. */
function afterMeeting(facts: oracle.Facts, user: string | null): oracle.Facts {
  if (user === null || facts.people.has(user)) return facts;
  const stranger = { active: true, superuser: false, grants: new Map(), groups: new Map() };
  return { ...facts, people: new Map([...facts.people, [user, stranger]]) };
}

const LIST = isPostgres ? "coalesce(json_agg(channel)::text, '[]')" : "json_group_array(channel)";

/** The tables hold the sockets that are open, each in its channels in the order of joining, and no others. */
export async function compareRows(world: World): Promise<void> {
  const rows = await world.query<{ id: string; user: string | null; channels: string }>(
    `select connection_id as id, user_id as user, (select ${LIST} from
       (select channel from sallyport_memberships where connection_key = s.id order by joined_at) as listed) as channels
     from sallyport_connections as s where closed_at is null`,
  );
  same(
    "open sessions",
    rows
      .map(({ id, user, channels }) => ({ id, user, channels: JSON.parse(channels) as unknown }))
      .sort((one, other) => (one.id < other.id ? -1 : 1)),
    world.facts.sockets
      .filter(({ open }) => open)
      .map(({ id, user, channels }) => ({ id, user, channels }))
      .sort((one, other) => (one.id < other.id ? -1 : 1)),
  );
}

/** What everybody may do by permissions. */
export function effective(facts: oracle.Facts): ReadonlyMap<string, readonly string[]> {
  return new Map(
    USERS.map((user) => [user, PERMISSIONS.filter((permission) => oracle.has(facts, user, permission))]),
  );
}

/**
 * What was foretold of a change, against the facts once it has been made.
 *
 * @param before what everybody could do until then
 * @param consequence undefined where nothing has changed
 */
export function comparePreview(
  preview: AccessPreview,
  facts: oracle.Facts,
  before: ReadonlyMap<string, readonly string[]>,
  consequence: Consequence | undefined,
): void {
  const after = effective(facts);
  const users = USERS.flatMap((user) => {
    const [had, has] = [before.get(user) ?? [], after.get(user) ?? []];
    const gains = has.filter((permission) => !had.includes(permission));
    const loses = had.filter((permission) => !has.includes(permission));
    return gains.length + loses.length > 0 ? [{ user, gains, loses }] : [];
  });
  const touched = consequence?.sockets(facts) ?? [];
  const isLost = ({ user, view }: oracle.Socket) => consequence?.ended || !oracle.mayUse(facts, user, view);
  const lost = touched.filter(isLost).map(({ id }) => id);
  const left = touched
    .filter((socket) => !isLost(socket))
    .flatMap(({ id, user, channels }) =>
      channels.filter((name) => !oracle.mayEnter(facts, user, name)).map((name) => `${id} ${name}`),
    );
  const sessions = preview.connections.map(({ connectionId }) => connectionId);
  const channels = preview.channels.map(({ connectionId, channel }) => `${connectionId} ${channel}`);
  same("foretold change", preview.changed, consequence !== undefined);
  same("foretold users", preview.users, users);
  same("foretold sessions", sessions.sort(), lost.sort());
  same("foretold channels", channels.sort(), left.sort());
}
