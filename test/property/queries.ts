import type { Access } from "../../src/admin/access.ts";
import type { AccessPreview } from "../../src/admin/preview.ts";
import type { Permission } from "../../src/permissions/define.ts";
import { isPostgres } from "../postgres/database.ts";
import { PERMISSIONS, USERS } from "./app.ts";
import { expectSame } from "./mismatch.ts";
import * as model from "./model.ts";
import { type Consequence, userState } from "./model-changes.ts";
import type { Question } from "./steps.ts";
import { checkStep } from "./stored-decisions.ts";
import type { World } from "./world.ts";

/** Calls a read function of the library, and compares its result with the model. */
export async function query(access: Access, state: model.ModelState, question: Question): Promise<void> {
  switch (question.kind) {
    case "holders": {
      const { permission, channel } = question;
      const object = objectOf(state, channel);
      const actual = await access.users.withPermission(permission as Permission, object && { object });
      expectSame(
        "holders",
        actual,
        USERS.filter((user) => hasFor(state, user, permission, object?.channel)),
      );
      return;
    }
    case "has": {
      const { user, permission, channel } = question;
      const object = objectOf(state, channel);
      const actual = await access.users.hasPermission(
        user,
        permission as Permission,
        ...(object ? [object] : []),
      );
      expectSame("has", actual, hasFor(state, user, permission, object?.channel));
      return;
    }
    case "who can":
      return queryHolders(access, state, question.permission);
    case "why":
      return queryExplanation(access, state, question);
  }
}

/** An unknown channel is omitted, because the library rejects it. */
function objectOf(state: model.ModelState, channel: string | undefined): { channel: string } | undefined {
  return channel !== undefined && model.exists(state, channel) ? { channel } : undefined;
}

function hasFor(
  state: model.ModelState,
  user: string,
  permission: string,
  channel: string | undefined,
): boolean {
  if (!model.has(state, user, permission)) return false;
  return channel === undefined || model.canJoin(state, user, channel);
}

async function queryHolders(access: Access, state: model.ModelState, permission: string): Promise<void> {
  const isValid = (end: number | null | undefined) => end === null || (end !== undefined && end > state.now);
  const wanted = USERS.filter((user) => model.has(state, user, permission)).map((user) => {
    const { grants, groups, superuser } = userState(state, user);
    const through = [...groups]
      .filter(([group, end]) => isValid(end) && isValid(state.groups.get(group)?.get(permission)))
      .map(([group]) => group);
    const direct = isValid(grants.get(permission)) ? ["directly"] : [];
    return { user, isSuperuser: superuser, from: [...direct, ...through].sort() };
  });
  const actual = (await access.permissions.holders(permission as Permission)).map(
    ({ user, isSuperuser, grants }) => ({
      user,
      isSuperuser,
      from: grants.map(({ group }) => group ?? "directly").sort(),
    }),
  );
  expectSame("who can", actual, wanted);
}

async function queryExplanation(
  access: Access,
  state: model.ModelState,
  { user, view, handler, channel }: Extract<Question, { kind: "why" }>,
): Promise<void> {
  const object = objectOf(state, channel);
  const met = withUser(state, user);
  const { verdict, steps } = await access.explain({ user, view, handler, ...object });
  const rule = state.views[view]?.handlers[handler]?.rule ?? {};
  const allowed =
    model.canUseView(met, user, view) &&
    model.passes(met, user, rule) &&
    (object === undefined || model.canJoin(met, user, object.channel));
  expectSame("why", verdict, allowed ? "allowed" : "denied");
  for (const step of steps) checkStep(step, met);
}

/**
 * Returns the model as the library sees an unknown user: the first token creates an active user
 * without permissions.
 */
function withUser(state: model.ModelState, user: string | null): model.ModelState {
  if (user === null || state.people.has(user)) return state;
  const newUser = { active: true, superuser: false, grants: new Map(), groups: new Map() };
  return { ...state, people: new Map([...state.people, [user, newUser]]) };
}

const LIST = isPostgres ? "coalesce(json_agg(channel)::text, '[]')" : "json_group_array(channel)";

/**
 * Compares the open connections in the tables, and the channels of each in the order of joining,
 * with the model.
 */
export async function compareRows(world: World): Promise<void> {
  const rows = await world.query<{ id: string; user: string | null; channels: string }>(
    `select connection_id as id, user_id as user, (select ${LIST} from
       (select channel from sallyport_memberships where connection_key = s.id order by joined_at) as listed) as channels
     from sallyport_connections as s where closed_at is null`,
  );
  expectSame(
    "open connections",
    rows
      .map(({ id, user, channels }) => ({ id, user, channels: JSON.parse(channels) as unknown }))
      .sort((one, other) => (one.id < other.id ? -1 : 1)),
    world.state.sockets
      .filter(({ open }) => open)
      .map(({ id, user, channels }) => ({ id, user, channels }))
      .sort((one, other) => (one.id < other.id ? -1 : 1)),
  );
}

/** Returns the permissions of every user. */
export function effective(state: model.ModelState): ReadonlyMap<string, readonly string[]> {
  return new Map(
    USERS.map((user) => [user, PERMISSIONS.filter((permission) => model.has(state, user, permission))]),
  );
}

/**
 * Compares the preview of a change with the model after the change.
 *
 * @param before the permissions of every user before the change
 * @param consequence undefined if nothing changed
 */
export function comparePreview(
  preview: AccessPreview,
  state: model.ModelState,
  before: ReadonlyMap<string, readonly string[]>,
  consequence: Consequence | undefined,
): void {
  const after = effective(state);
  const users = USERS.flatMap((user) => {
    const [had, has] = [before.get(user) ?? [], after.get(user) ?? []];
    const gains = has.filter((permission) => !had.includes(permission));
    const loses = had.filter((permission) => !has.includes(permission));
    return gains.length + loses.length > 0 ? [{ user, gains, loses }] : [];
  });
  const touched = consequence?.sockets(state) ?? [];
  const isLost = ({ user, view }: model.Socket) => consequence?.ended || !model.canUseView(state, user, view);
  const lost = touched.filter(isLost).map(({ id }) => id);
  const left = touched
    .filter((socket) => !isLost(socket))
    .flatMap(({ id, user, channels }) =>
      channels.filter((name) => !model.canJoin(state, user, name)).map((name) => `${id} ${name}`),
    );
  const sessions = preview.connections.map(({ connectionId }) => connectionId);
  const channels = preview.channels.map(({ connectionId, channel }) => `${connectionId} ${channel}`);
  expectSame("preview: changed", preview.changed, consequence !== undefined);
  expectSame("preview: users", preview.users, users);
  expectSame("preview: connections", sessions.sort(), lost.sort());
  expectSame("preview: channels", channels.sort(), left.sort());
}
