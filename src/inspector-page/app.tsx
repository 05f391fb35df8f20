import { Button, Tabs } from "@mantine/core";
import { useState } from "react";
import { ConnectionsPanel } from "./connections-panel.tsx";
import { type EventFilter, NO_FILTER } from "./event-filter.ts";
import { EventsPanel } from "./events-panel.tsx";
import { FaultBanner, FaultsPanel } from "./faults-panel.tsx";
import { urlOnHost } from "./gateway-url.ts";
import { Header } from "./header.tsx";
import { type Feed, useFeed } from "./use-feed.ts";

/** The page of the inspector. */
export function App() {
  const feed = useFeed();
  const state = { ...feed.state, url: urlOnHost(feed.state.url, location.host) };
  const [tab, setTab] = useState<string | null>("events");
  const [filter, setFilter] = useState<EventFilter>(NO_FILTER);
  const showEvents = (connectionId: string) => {
    setFilter({ ...NO_FILTER, connectionId });
    setTab("events");
  };
  return (
    <div className="page">
      <Header url={state.url} link={feed.link} />
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
