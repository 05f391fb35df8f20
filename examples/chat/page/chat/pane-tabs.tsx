import { SegmentedControl } from "@mantine/core";
import { PANES, type Pane } from "../../src/panes.ts";
import { useMe } from "../api/people.ts";
import classes from "./chat.module.css";

interface Props {
  readonly selected: Pane;
  readonly onSelect: (pane: Pane) => void;
}

/** Selects the chat that a phone shows, by person. */
export function PaneTabs({ selected, onSelect }: Props) {
  const [left, right] = [useMe("left").data, useMe("right").data];
  const names = { left: left?.name ?? "First", right: right?.name ?? "Second" };
  return (
    <SegmentedControl
      fullWidth
      size="xs"
      classNames={{ label: classes.paneTab }}
      aria-label="Person"
      value={selected}
      onChange={(value) => onSelect(value as Pane)}
      data={PANES.map((pane) => ({ value: pane, label: names[pane] }))}
    />
  );
}
