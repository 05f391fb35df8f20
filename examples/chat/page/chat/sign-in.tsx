import { Button, Stack, Text } from "@mantine/core";
import type { Pane } from "../../src/panes.ts";
import { useAccess } from "../api/access.ts";
import { useSignIn } from "../api/people.ts";
import { PersonLabel } from "./person-label.tsx";

/** The people to sign in as. */
export function SignIn({ pane }: { readonly pane: Pane }) {
  const { data } = useAccess();
  const signIn = useSignIn(pane);
  return (
    <Stack flex={1} justify="center" p="lg" gap="xs" data-testid="sign-in">
      <Text fw={600}>Sign in as</Text>
      {data?.people.map((person) => (
        <Button
          key={person.id}
          variant="default"
          justify="flex-start"
          h="auto"
          py={8}
          px={12}
          ta="left"
          loading={signIn.isPending && signIn.variables === person.email}
          onClick={() => signIn.mutate(person.email)}
        >
          <PersonLabel name={person.name} role={person.role} />
        </Button>
      ))}
      {signIn.error && (
        <Text size="sm" c="red" role="alert">
          {signIn.error.message}
        </Text>
      )}
    </Stack>
  );
}
