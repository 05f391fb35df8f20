import { Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { LockIcon } from "../icons.tsx";

interface Props {
  readonly title: string;
  readonly children: ReactNode;
}

/** A place that the person has no access to. */
export function NoAccess({ title, children }: Props) {
  return (
    <Stack
      flex={1}
      align="center"
      justify="center"
      gap={8}
      p="lg"
      ta="center"
      role="status"
      data-testid="no-access"
    >
      <LockIcon size={32} />
      <Text fw={600}>{title}</Text>
      {children}
    </Stack>
  );
}
