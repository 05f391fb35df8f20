import { UnstyledButton } from "@mantine/core";
import { useEffect, useRef } from "react";
import type { RoomState } from "../../src/people-routes.ts";
import { LockIcon } from "../icons.tsx";
import classes from "./chat.module.css";

interface Props {
  readonly rooms: readonly RoomState[];
  readonly selected: string;
  readonly person: string;
  readonly onSelect: (slug: string) => void;
}

/** The rooms. Those that the person cannot enter have a lock. */
export function RoomList({ rooms, selected, person, onSelect }: Props) {
  const list = useRef<HTMLElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the selected room is scrolled into view
  useEffect(() => {
    const button = list.current?.querySelector("[aria-current]");
    button?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [selected]);
  return (
    <nav ref={list} aria-label={`Rooms of ${person}`} className={classes.rooms}>
      {rooms.map(({ slug, title, isLocked }) => (
        <UnstyledButton
          key={slug}
          className={classes.room}
          data-locked={isLocked || undefined}
          aria-current={slug === selected ? "true" : undefined}
          aria-label={isLocked ? `${title}, locked` : title}
          onClick={() => onSelect(slug)}
          data-testid={`room-${slug}`}
        >
          {isLocked && <LockIcon size={13} />}
          {title}
        </UnstyledButton>
      ))}
    </nav>
  );
}
