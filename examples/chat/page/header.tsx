import {
  ActionIcon,
  Anchor,
  Button,
  Group,
  Popover,
  Stack,
  Text,
  Title,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { useState } from "react";
import { useReset } from "./api/access.ts";
import { useConfig } from "./api/people.ts";
import classes from "./app.module.css";
import { useGuide } from "./guide-progress.ts";
import { Logo, MoonIcon, MoreIcon, SunIcon } from "./icons.tsx";

interface Props {
  readonly isGuideOpen: boolean;
  readonly onOpenGuide: () => void;
}

export function Header({ isGuideOpen, onOpenGuide }: Props) {
  const reset = useReset();
  const guide = useGuide();
  const inspectorUrl = useConfig().data?.inspectorUrl;
  return (
    <header className={classes.header} data-guide={isGuideOpen}>
      <Group gap="sm" wrap="nowrap" miw={0}>
        <Logo />
        <div>
          <Title order={1} size="h4" lh={1.2}>
            Sallyport
          </Title>
          <Text c="dimmed" lh={1.3} className={classes.tagline}>
            <span className={classes.long}>
              Demo of Sallyport: a library that checks WebSocket permissions behind AWS API Gateway, and
              closes connections when access ends.
            </span>
            <span className={classes.short}>Ends WebSocket access at once</span>
          </Text>
        </div>
      </Group>
      <Group gap="xs" wrap="nowrap" flex="none">
        {inspectorUrl && (
          <Anchor href={inspectorUrl} target="_blank" size="sm" className={classes.wide}>
            Gateway inspector
          </Anchor>
        )}
        {!isGuideOpen && (
          <Button size="xs" variant="default" className={classes.wide} onClick={onOpenGuide}>
            Guide
          </Button>
        )}
        <Button
          size="xs"
          variant="default"
          loading={reset.isPending}
          onClick={() => {
            guide.restart();
            reset.mutate();
          }}
        >
          Reset
        </Button>
        <ColorSchemeButton />
        <More inspectorUrl={inspectorUrl} isGuideOpen={isGuideOpen} onOpenGuide={onOpenGuide} />
      </Group>
    </header>
  );
}

/** What a phone has no space for in the header. */
function More({
  inspectorUrl,
  isGuideOpen,
  onOpenGuide,
}: Props & { readonly inspectorUrl: string | undefined }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <Popover opened={isOpen} onChange={setOpen} position="bottom-end" withArrow trapFocus returnFocus>
      <Popover.Target>
        <ActionIcon
          variant="default"
          size={30}
          aria-label="More"
          className={classes.narrow}
          onClick={() => setOpen((before) => !before)}
        >
          <MoreIcon />
        </ActionIcon>
      </Popover.Target>
      <Popover.Dropdown aria-label="More">
        <Stack gap="xs">
          {inspectorUrl && (
            <Anchor href={inspectorUrl} target="_blank" size="sm">
              Gateway inspector
            </Anchor>
          )}
          {!isGuideOpen && (
            <Button
              size="xs"
              variant="default"
              onClick={() => {
                setOpen(false);
                onOpenGuide();
              }}
            >
              Guide
            </Button>
          )}
        </Stack>
      </Popover.Dropdown>
    </Popover>
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
