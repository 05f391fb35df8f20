import { nameOf } from "../accounts.ts";
import { PERMISSIONS } from "../permissions.ts";
import { BOOK_CLUB, listRooms } from "../rooms.ts";
import { sallyport } from "../sallyport.ts";
import { changeOf, type Switch } from "./switch.ts";

/** What a person would gain and lose by a change. */
export interface Consequence {
  readonly person: string;
  readonly gains: readonly string[];
  readonly loses: readonly string[];
  /** The number of open connections that would be closed. */
  readonly closedConnections: number;
  /** The titles of the rooms that open connections would leave. */
  readonly leftRooms: readonly string[];
}

/** Returns the labels of permissions, in the order of the page. */
function labelsOf(names: readonly string[] = []): readonly string[] {
  return PERMISSIONS.filter(({ name }) => names.includes(name)).map(({ label }) => label);
}

/** Returns who would gain and lose what, without making the change. */
export async function consequencesOf(given: Switch): Promise<readonly Consequence[]> {
  const preview =
    given.kind === "book-club"
      ? await bookClubPreview(given)
      : await sallyport.access.preview(changeOf(given));
  const titles = new Map((await listRooms()).map(({ slug, title }) => [`rooms/${slug}`, title]));
  const ids = [...preview.users, ...preview.connections, ...preview.channels].map(({ user }) => user ?? "");
  return Promise.all(
    [...new Set(ids)].map(async (id) => {
      const user = preview.users.find((effect) => effect.user === id);
      const left = preview.channels.filter((effect) => effect.user === id);
      return {
        person: await nameOf(id),
        gains: labelsOf(user?.gains),
        loses: labelsOf(user?.loses),
        closedConnections: preview.connections.filter((effect) => effect.user === id).length,
        leftRooms: [...new Set(left.map(({ channel }) => titles.get(channel) ?? channel))],
      };
    }),
  );
}

/** The members of the book club are not stored in Sallyport, so the chat finds the connections itself. */
async function bookClubPreview({ user, isOn }: { user: string; isOn: boolean }) {
  const channel = `rooms/${BOOK_CLUB}`;
  const open = isOn ? [] : await sallyport.listConnections({ user, channel });
  return { users: [], connections: [], channels: open.map((connection) => ({ ...connection, channel })) };
}
