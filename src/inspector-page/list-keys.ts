import type { KeyboardEvent } from "react";

/**
 * Returns a handler of the arrow keys, Home, End, Enter and Space, which selects a row and focuses it.
 *
 * @param select called with the index of the row
 */
export function listKeys(select: (index: number) => void) {
  return (event: KeyboardEvent<HTMLElement>) => {
    const rows = [...event.currentTarget.querySelectorAll<HTMLElement>("[data-row]")];
    const current = rows.indexOf(event.target as HTMLElement);
    const target = targetOf(event.key, current, rows.length);
    if (target === undefined || current < 0) return;
    event.preventDefault();
    select(target);
    rows[target]?.focus();
  };
}

function targetOf(key: string, current: number, count: number): number | undefined {
  const last = count - 1;
  if (key === "ArrowDown") return Math.min(current + 1, last);
  if (key === "ArrowUp") return Math.max(current - 1, 0);
  if (key === "Home") return 0;
  if (key === "End") return last;
  return key === "Enter" || key === " " ? current : undefined;
}
