import type { AccessChange } from "sallyport";
import { z } from "zod";
import { PERMISSIONS, permissionNamed } from "../permissions.ts";
import { BOOK_CLUB, joinRoom, leaveRoom } from "../rooms.ts";
import { sallyport } from "../sallyport.ts";

const isOn = z.boolean();
/** The duration of a grant in seconds. Without it, the grant does not end. */
const seconds = z.int().positive().max(3600).optional();
const holder = z.union([z.strictObject({ user: z.string() }), z.strictObject({ group: z.string() })]);
const permission = z.enum(PERMISSIONS.map(({ name }) => name));

/** A switch of the page, and the position that it gets. */
export const Switch = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("permission"), holder, permission, isOn, seconds }),
  z.strictObject({ kind: z.literal("group"), user: z.string(), group: z.string(), isOn, seconds }),
  z.strictObject({ kind: z.literal("superuser"), user: z.string(), isOn }),
  z.strictObject({ kind: z.literal("book-club"), user: z.string(), isOn }),
]);

export type Switch = z.infer<typeof Switch>;

/** The change of Sallyport's permissions that a switch makes. The book club is data of the chat. */
export function changeOf(given: Exclude<Switch, { kind: "book-club" }>): AccessChange {
  switch (given.kind) {
    case "permission": {
      const holder = "user" in given.holder ? given.holder.user : given.holder;
      const permission = permissionNamed(given.permission);
      return given.isOn
        ? { kind: "grant", holder, permission, ...untilOf(given.seconds) }
        : { kind: "revoke", holder, permission };
    }
    case "group": {
      const { user, group } = given;
      return given.isOn
        ? { kind: "add-to-group", user, group, ...untilOf(given.seconds) }
        : { kind: "remove-from-group", user, group };
    }
    case "superuser":
      return { kind: "set-superuser", user: given.user, superuser: given.isOn };
  }
}

/** Makes the change of a switch. It resolves when the sockets of everyone who lost access are closed. */
export async function turn(given: Switch): Promise<void> {
  const origin = { by: "the demo page" };
  if (given.kind === "book-club") {
    const { user, isOn } = given;
    await (isOn ? joinRoom : leaveRoom)(BOOK_CLUB, user);
    // The data of the chat changed, so every authorize of the user's channels is called again.
    await sallyport.access.recheck({ user }, origin);
  } else {
    await sallyport.access.change(changeOf(given), origin);
  }
}

function untilOf(seconds: number | undefined): { until?: number } {
  return seconds === undefined ? {} : { until: Date.now() + seconds * 1000 };
}
