import {
  ActionIcon,
  Anchor,
  Button,
  Group,
  Text,
  Title,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { useReset } from "./api/access.ts";
import { useConfig } from "./api/people.ts";
import classes from "./app.module.css";
import { Logo, MoonIcon, SunIcon } from "./icons.tsx";

export function Header() {
  const reset = useReset();
  const config = useConfig();
  return (
    <header className={classes.header}>
      <Group gap="sm" wrap="nowrap">
        <Logo />
        <div>
          <Title order={1} size="h4" lh={1.2}>
            Sallyport
          </Title>
          <Text size="sm" c="dimmed" lh={1.3} className={classes.tagline}>
            WebSocket permissions for AWS API Gateway: when a permission ends, access ends at once.
          </Text>
        </div>
      </Group>
      <Group gap="xs" wrap="nowrap">
        {config.data && (
          <Anchor href={config.data.inspectorUrl} target="_blank" size="sm" className={classes.inspector}>
            Gateway inspector
          </Anchor>
        )}
        <Button size="xs" variant="default" loading={reset.isPending} onClick={() => reset.mutate()}>
          Reset
        </Button>
        <ColorSchemeButton />
      </Group>
    </header>
  );
}

function ColorSchemeButton() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  const next = scheme === "light" ? "dark" : "light";
  return (
    <ActionIcon
      variant="default"
      size={30}
      aria-label={`Use ${next} colors`}
      onClick={() => setColorScheme(next)}
    >
      {next === "dark" ? <MoonIcon /> : <SunIcon />}
    </ActionIcon>
  );
}
