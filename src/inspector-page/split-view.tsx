import { CloseButton } from "@mantine/core";
import { type ReactNode, useEffect } from "react";

interface SplitViewProps {
  readonly children: ReactNode;
  readonly title: string;
  /** The content of the details pane, or undefined if nothing is selected. */
  readonly details: ReactNode | undefined;
  readonly onClose: () => void;
}

/** A list, and the details of the selected row beside it or over it. Escape closes the details. */
export function SplitView({ children, title, details, onClose }: SplitViewProps) {
  const isOpen = details !== undefined;
  useEffect(() => {
    if (!isOpen) return;
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      document.querySelector<HTMLElement>("[data-row][aria-selected=true]")?.focus();
      onClose();
    };
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, [isOpen, onClose]);
  return (
    <div className={isOpen ? "split open" : "split"}>
      <div className="list">{children}</div>
      {isOpen && (
        <aside className="details" aria-label={title}>
          <header>
            <h2>{title}</h2>
            <CloseButton aria-label="Close the details" onClick={onClose} />
          </header>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable area needs the keyboard */}
          <section className="details-body" tabIndex={0} aria-label="Details">
            {details}
          </section>
        </aside>
      )}
    </div>
  );
}
