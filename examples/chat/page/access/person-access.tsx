import type { AccessState } from "../api/access.ts";
import classes from "./access.module.css";
import { SwitchRow } from "./switch-row.tsx";

type Person = AccessState["people"][number];

/** Returns why the person has a permission without a grant, or undefined. */
function sourceOf({ groups }: Person["permissions"][number], isSuperuser: boolean): string | undefined {
  if (isSuperuser) return "as a superuser";
  return groups.length > 0 ? `through ${groups.join(", ")}` : undefined;
}

/** Returns the note of the book club: where its members are checked, or what a member lacks. */
function bookClubNote({ permissions, isSuperuser, isBookClubMember }: Person): string {
  if (isSuperuser) return "checked by the app, also for superusers";
  const [useChat] = permissions;
  const canChat = useChat?.isGranted || (useChat?.groups.length ?? 0) > 0;
  return isBookClubMember && !canChat ? "needs “Use chat” too" : "checked by the app itself";
}

/** The switches of a person. */
export function PersonAccess({ person }: { readonly person: Person }) {
  const { id, name, permissions, groups, isSuperuser, isBookClubMember } = person;
  return (
    <div className={classes.rows}>
      {permissions.map((permission) => (
        <SwitchRow
          key={permission.name}
          label={permission.label}
          of={name}
          question={`Revoke “${permission.label}” from ${name}?`}
          isOn={permission.isGranted}
          until={permission.until}
          source={sourceOf(permission, isSuperuser)}
          isTimed
          change={(isOn, seconds) => ({
            kind: "permission",
            holder: { user: id },
            permission: permission.name,
            isOn,
            seconds,
          })}
        />
      ))}
      {groups.map((group) => (
        <SwitchRow
          key={group.name}
          label={`In group ${group.name}`}
          of={name}
          question={`Revoke ${name}’s membership of ${group.name}?`}
          isOn={group.isMember}
          until={group.until}
          isTimed
          change={(isOn, seconds) => ({ kind: "group", user: id, group: group.name, isOn, seconds })}
        />
      ))}
      <SwitchRow
        label="Member of the book club"
        of={name}
        question={`Revoke ${name}’s membership of the book club?`}
        isOn={isBookClubMember}
        previewSide="top"
        note={bookClubNote(person)}
        change={(isOn) => ({ kind: "book-club", user: id, isOn })}
      />
      <SwitchRow
        label="Superuser"
        of={name}
        question={`Revoke “Superuser” from ${name}?`}
        isOn={isSuperuser}
        previewSide="top"
        change={(isOn) => ({ kind: "superuser", user: id, isOn })}
      />
    </div>
  );
}
