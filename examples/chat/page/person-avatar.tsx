import { Avatar } from "@mantine/core";

const COLORS: Readonly<Record<string, string>> = { Alice: "grape", Mo: "blue", Eve: "orange", Rita: "pink" };

/** The first letter of a name, in the color of the person. */
export function PersonAvatar({ name, size = 32 }: { readonly name: string; readonly size?: number }) {
  return (
    <Avatar size={size} radius="xl" color={COLORS[name] ?? "gray"} variant="light" aria-hidden>
      {name.slice(0, 1)}
    </Avatar>
  );
}
