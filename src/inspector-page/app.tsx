import { Button, Tabs } from "@mantine/core";
import { useState } from "react";
import { ConnectionsPanel } from "./connections-panel.tsx";
import { type EventFilter, NO_FILTER } from "./event-filter.ts";
import { EventsPanel } from "./events-panel.tsx";
import { FaultBanner, FaultsPanel } from "./faults-panel.tsx";
import { type Feed, type LinkState, useFeed } from "./use-feed.ts";

const LINK_LABELS: Readonly<Record<LinkState, string>> = {
  connecting: "Connecting",
  open: "Live",
  lost: "Not connected",
  superseded: "Stopped",
};

/** The page of the inspector. */
export function App() {
  const feed = useFeed();
  const { state, link } = feed;
  const [tab, setTab] = useState<string | null>("events");
  const [filter, setFilter] = useState<EventFilter>(NO_FILTER);
  const showEvents = (connectionId: string) => {
    setFilter({ ...NO_FILTER, connectionId });
    setTab("events");
  };
  return (
    <div className="page">
      <header className="top">
        <h1>Sallyport inspector</h1>
        <code>{state.url}</code>
        <span className={`link ${link}`}>{LINK_LABELS[link]}</span>
      </header>
      <LinkBanner feed={feed} />
      <FaultBanner faults={state.faults} />
      <main>
        <Tabs value={tab} onChange={setTab} className="tabs" keepMounted={false}>
          <Tabs.List>
            <Tabs.Tab value="events">Events ({state.events.size})</Tabs.Tab>
            <Tabs.Tab value="connections">Connections ({state.connections.count})</Tabs.Tab>
            <Tabs.Tab value="faults">Faults ({Object.keys(state.faults).length})</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="events">
            <EventsPanel state={state} filter={filter} onFilter={setFilter} />
          </Tabs.Panel>
          <Tabs.Panel value="connections">
            <ConnectionsPanel connections={state.connections} url={state.url} onShowEvents={showEvents} />
          </Tabs.Panel>
          <Tabs.Panel value="faults">
            <FaultsPanel faults={state.faults} />
          </Tabs.Panel>
        </Tabs>
      </main>
    </div>
  );
}

function LinkBanner({ feed: { link, reconnect } }: { readonly feed: Feed }) {
  if (link === "lost")
    return (
      <div className="banner failure" role="alert">
        The gateway does not answer. Start it again: this page then connects by itself.
      </div>
    );
  if (link !== "superseded") return null;
  return (
    <div className="banner warning" role="alert">
      <span>This page no longer receives events, because too many pages of the inspector are open.</span>
      <Button size="compact-xs" variant="default" onClick={reconnect}>
        Connect again
      </Button>
    </div>
  );
}
