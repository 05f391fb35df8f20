/**
 * The two halves of the page. A person signs in to each of them with a cookie of its own, so that one
 * browser can be two people.
 */
export const PANES = ["left", "right"] as const;

export type Pane = (typeof PANES)[number];

export function isPane(text: string | null | undefined): text is Pane {
  return text === "left" || text === "right";
}
