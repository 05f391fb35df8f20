import type { AccessPreview, ChangeOptions } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import type { ChangeCommand } from "./change.ts";
import { type Names, namesOf } from "./find-user.ts";
import type { Report } from "./report.ts";
import { aligned, first } from "./table.ts";

/** Printed if some connections have views or channels of another app. */
export const OTHER_APPS = "Other apps on this database check their own connections.";

/** Returns the effects of a change without making it. */
export async function formatDryRun(
  sallyport: Sallyport,
  { change, done, already }: ChangeCommand,
  options: ChangeOptions,
): Promise<Report> {
  const preview = await sallyport.access.preview(change, options);
  const { users, connections, channels } = preview;
  const names = await namesOf(
    sallyport,
    [...users, ...connections, ...channels].map(({ user }) => user),
  );
  const labelled = <Effect extends { user: string | null }>(effects: readonly Effect[]) =>
    effects.map((effect) => ({ ...effect, label: names.label(effect.user) }));
  const json = {
    dryRun: true,
    ...preview,
    message: preview.changed ? done : already,
    users: labelled(users),
    connections: labelled(connections),
    channels: labelled(channels),
  };
  if (!preview.changed) return { json, lines: [already] };
  return {
    json,
    lines: [
      "Dry run, nothing has changed. The command would print:",
      `  ${done}`,
      ...effects(preview, names),
    ],
  };
}

function effects(preview: AccessPreview, { name }: Names): readonly string[] {
  const { users, connections, channels, otherApps } = preview;
  const rows = [
    ...users.flatMap(({ user, gains, loses }) => [
      ...gains.map((permission) => ["  gains", name(user), permission]),
      ...loses.map((permission) => ["  loses", name(user), permission]),
    ]),
    ...connections.map(({ user, view, connection }) => [
      "  closes",
      name(user),
      `${view}, connection ${connection}`,
    ]),
    ...channels.map(({ user, channel, connection }) => [
      "  leaves",
      name(user),
      `${channel}, connection ${connection}`,
    ]),
  ];
  const counts = [
    usersText(users.length),
    connectionsText(connections.length),
    channelsText(channels.length),
  ].join(", ");
  const others = otherApps > 0 ? [OTHER_APPS] : [];
  return [rows.length > 0 ? `${counts}:` : `${counts}.`, ...first(aligned(rows)), ...others];
}

function usersText(count: number): string {
  return count === 1 ? "1 user gains or loses" : `${count} users gain or lose`;
}

function connectionsText(count: number): string {
  return count === 1 ? "1 open connection would close" : `${count} open connections would close`;
}

function channelsText(count: number): string {
  return count === 1 ? "1 channel would be left" : `${count} channels would be left`;
}
