import { definePermissions, type Permission } from "sallyport";
import { PERMISSION_LABELS } from "./page-contract.ts";

export const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  can_moderate_chat: "Can moderate chat",
});

/** The permissions as the page shows them. */
export const PERMISSIONS = [
  {
    name: "chat.can_use_chat",
    label: PERMISSION_LABELS["chat.can_use_chat"],
    permission: chat.can_use_chat,
  },
  {
    name: "chat.can_moderate_chat",
    label: PERMISSION_LABELS["chat.can_moderate_chat"],
    permission: chat.can_moderate_chat,
  },
] as const;

/** @throws Error if there is no such permission */
export function permissionNamed(name: string): Permission {
  const found = PERMISSIONS.find((candidate) => candidate.name === name);
  if (found) return found.permission;
  throw new Error(`There is no permission "${name}". Add it to definePermissions() in permissions.ts.`);
}
