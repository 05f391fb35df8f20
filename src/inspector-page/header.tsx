import { ActionIcon, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { Logo, MoonIcon, SunIcon } from "./icons.tsx";
import type { LinkState } from "./use-feed.ts";

const LINK_LABELS: Readonly<Record<LinkState, string>> = {
  connecting: "Connecting",
  open: "Live",
  lost: "Not connected",
  superseded: "Stopped",
};

/** The name of the page, the URL of the gateway, and the state of the event stream. */
export function Header({ url, link }: { readonly url: string; readonly link: LinkState }) {
  return (
    <header className="top">
      <Logo />
      <div className="name">
        <h1>Gateway inspector</h1>
        <code>{url}</code>
      </div>
      <span className={`link ${link}`}>{LINK_LABELS[link]}</span>
      <ColorSchemeButton />
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
