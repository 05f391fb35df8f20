import { Button, Menu } from "@mantine/core";
import type { Pane } from "../../src/panes.ts";
import { useAccess } from "../api/access.ts";
import { useSignIn, useSignOut } from "../api/people.ts";
import { CheckIcon, ChevronIcon } from "../icons.tsx";
import { PersonAvatar } from "../person-avatar.tsx";
import classes from "./chat.module.css";
import { PersonLabel } from "./person-label.tsx";

/** The signed-in person of a pane. The menu signs in as another person, or signs out. */
export function PersonMenu({ pane, name }: { readonly pane: Pane; readonly name: string }) {
  const { data } = useAccess();
  const signIn = useSignIn(pane);
  const signOut = useSignOut(pane);
  const active = data?.people.find((person) => person.name === name)?.email ?? null;
  return (
    <Menu position="bottom-start" withArrow shadow="md">
      <Menu.Target>
        <Button
          variant="subtle"
          color="gray"
          px={6}
          ml={-6}
          className={classes.touch}
          loading={signIn.isPending || signOut.isPending}
          leftSection={<PersonAvatar name={name} size={28} />}
          rightSection={<ChevronIcon />}
          title="Sign in as another person"
          data-testid="person"
        >
          {name}
        </Button>
      </Menu.Target>
      <Menu.Dropdown miw={220}>
        <Menu.Label>Sign in here as</Menu.Label>
        <Menu.RadioGroup value={active} onChange={(email) => signIn.mutate(String(email))}>
          {data?.people.map((person) => (
            <Menu.RadioItem
              key={person.id}
              value={person.email}
              checkIcon={<CheckIcon size={14} />}
              closeMenuOnClick
            >
              <PersonLabel name={person.name} role={person.role} />
            </Menu.RadioItem>
          ))}
        </Menu.RadioGroup>
        <Menu.Divider />
        <Menu.Item className={classes.touch} onClick={() => signOut.mutate()}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
