import { SegmentedControl, useMatches } from "@mantine/core";
import { useState } from "react";
import type { Pane as PaneName } from "../src/panes.ts";
import { AccessPanel } from "./access/access-panel.tsx";
import classes from "./app.module.css";
import { Pane } from "./chat/pane.tsx";
import { PaneTabs } from "./chat/pane-tabs.tsx";
import { Guide, useGuideClosed } from "./guide.tsx";
import { Header } from "./header.tsx";
import { LivePanel } from "./live/live-panel.tsx";
import { Notice } from "./live/notice.tsx";

type Tab = "chat" | "access" | "live";

const TABS: readonly { readonly value: Tab; readonly label: string }[] = [
  { value: "chat", label: "Chat" },
  { value: "access", label: "Access" },
  { value: "live", label: "Live" },
];

/** The page: access, the chats of two people, and the live panel. A phone shows one of them at a time. */
export function App() {
  const [tab, setTab] = useState<Tab>("chat");
  const isPhone = useMatches({ base: true, sm: false });
  const [pane, setPane] = useState<PaneName>("left");
  const [isGuideClosed, setGuideClosed] = useGuideClosed();
  return (
    <div className={classes.page} data-tab={tab} data-pane={pane}>
      <Header isGuideOpen={!isGuideClosed} onOpenGuide={() => setGuideClosed(false)} />
      {!isGuideClosed && <Guide onClose={() => setGuideClosed(true)} />}
      {isPhone && (
        <nav aria-label="Panels" className={classes.tabs}>
          <SegmentedControl
            fullWidth
            aria-label="Panel"
            value={tab}
            onChange={(value) => setTab(value as Tab)}
            data={[...TABS]}
          />
          {tab === "chat" && <PaneTabs selected={pane} onSelect={setPane} />}
        </nav>
      )}
      <main className={classes.panels}>
        <div className={classes.access}>
          <AccessPanel />
        </div>
        <div className={classes.left}>
          <Pane pane="left" firstEmail="alice@example.com" />
        </div>
        <div className={classes.right}>
          <Pane pane="right" firstEmail="mo@example.com" />
        </div>
        <div className={classes.live}>
          <LivePanel />
        </div>
      </main>
      {isPhone && tab !== "chat" && (
        <Notice
          onShow={(shown) => {
            setTab("chat");
            setPane(shown);
          }}
        />
      )}
    </div>
  );
}
