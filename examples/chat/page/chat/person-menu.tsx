import { Button, Menu } from "@mantine/core";
import type { Pane } from "../../src/panes.ts";
import { useAccess } from "../api/access.ts";
import { useSignIn, useSignOut } from "../api/people.ts";
import { ChevronIcon } from "../icons.tsx";
import { PersonAvatar } from "../person-avatar.tsx";

/** The signed-in person of a pane. The menu signs in as another person, or signs out. */
export function PersonMenu({ pane, name }: { readonly pane: Pane; readonly name: string }) {
  const { data } = useAccess();
  const signIn = useSignIn(pane);
  const signOut = useSignOut(pane);
  return (
    <Menu position="bottom-start" withArrow>
      <Menu.Target>
        <Button
          variant="subtle"
          color="gray"
          px={6}
          loading={signIn.isPending || signOut.isPending}
          leftSection={<PersonAvatar name={name} size={28} />}
          rightSection={<ChevronIcon />}
          title="Sign in as another person"
          data-testid="person"
        >
          {name}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Sign in here as</Menu.Label>
        {data?.people
          .filter((person) => person.name !== name)
          .map((person) => (
            <Menu.Item
              key={person.id}
              leftSection={<PersonAvatar name={person.name} size={24} />}
              onClick={() => signIn.mutate(person.email)}
            >
              {person.name}, {person.role}
            </Menu.Item>
          ))}
        <Menu.Divider />
        <Menu.Item onClick={() => signOut.mutate()}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
