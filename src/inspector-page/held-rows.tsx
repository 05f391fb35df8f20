import {
  type FocusEvent,
  type MouseEvent,
  type PointerEvent,
  type ReactNode,
  useEffect,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";
import type { EventSummary } from "../local/inspector/messages.ts";

interface HeldRowsProps {
  /** The events that match the filter, newest first. */
  readonly events: readonly EventSummary[];
  /** The id of the newest event, or 0 without one. */
  readonly newestId: number;
  readonly children: (events: readonly EventSummary[]) => ReactNode;
}

/**
 * Holds new rows while the pointer is over the list or the list has the focus, so that rows do not
 * move under the pointer. A button shows how many there are, and adds them.
 */
export function HeldRows({ events, newestId, children }: HeldRowsProps) {
  const list = useRef<HTMLDivElement>(null);
  const isPointerOver = useRef(false);
  /** The newest event that is shown, or undefined if all are. */
  const [heldId, setHeldId] = useState<number>();
  const hold = () => setHeldId((current) => current ?? newestId);
  const release = () => setHeldId(undefined);

  // A focused row that is removed causes no blur event.
  useEffect(() => {
    const hasFocus = list.current?.contains(document.activeElement);
    if (heldId !== undefined && !isPointerOver.current && !hasFocus) setHeldId(undefined);
  });

  const old = heldId === undefined ? events : events.filter(({ id }) => id <= heldId);
  const shown = old.length > 0 ? old : events;
  const newCount = events.length - shown.length;
  const showNew = (event: MouseEvent<HTMLButtonElement>) => {
    const isByKeyboard = event.detail === 0;
    event.currentTarget.blur();
    flushSync(() => setHeldId(newestId));
    list.current?.closest(".list")?.scrollTo({ top: 0 });
    if (isByKeyboard) list.current?.querySelector<HTMLElement>("[data-row]")?.focus();
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: it only observes the pointer and the focus
    <div
      ref={list}
      className="held"
      onPointerEnter={({ pointerType }: PointerEvent) => {
        if (pointerType !== "mouse") return;
        isPointerOver.current = true;
        hold();
      }}
      onPointerLeave={() => {
        isPointerOver.current = false;
        if (!list.current?.contains(document.activeElement)) release();
      }}
      onFocus={hold}
      onBlur={({ currentTarget, relatedTarget }: FocusEvent) => {
        if (!isPointerOver.current && !currentTarget.contains(relatedTarget)) release();
      }}
    >
      {newCount > 0 && (
        <div className="new-rows">
          <button type="button" onClick={showNew}>
            {newCount} new
          </button>
        </div>
      )}
      {children(shown)}
    </div>
  );
}
