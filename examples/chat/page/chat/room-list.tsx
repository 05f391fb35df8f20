import { Button, ScrollArea } from "@mantine/core";
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
  return (
    <ScrollArea type="never" className={classes.rooms}>
      <nav aria-label={`Rooms of ${person}`} className={classes.roomButtons}>
        {rooms.map(({ slug, title, isLocked }) => (
          <Button
            key={slug}
            size="compact-sm"
            radius="xl"
            variant={slug === selected ? "filled" : "default"}
            aria-current={slug === selected ? "true" : undefined}
            aria-label={isLocked ? `${title}, locked` : title}
            leftSection={isLocked ? <LockIcon size={13} /> : undefined}
            onClick={() => onSelect(slug)}
            data-testid={`room-${slug}`}
          >
            {title}
          </Button>
        ))}
      </nav>
    </ScrollArea>
  );
}
