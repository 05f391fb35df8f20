/**
 * Returns an element of the page by its id.
 *
 * @throws Error if the page has no element with this id and type
 */
export function element<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`The page has no ${kind.name} with id "${id}".`);
}

interface Traits {
  readonly className?: string;
  readonly text?: string;
  readonly testId?: string;
  /** With `auto`, the first character with a direction sets the direction of the text. */
  readonly dir?: "auto";
}

/** Creates an element. `text` is inserted as text, never as HTML. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  { className, text, testId, dir }: Traits = {},
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (testId) made.dataset.testid = testId;
  if (dir) made.dir = dir;
  return made;
}
