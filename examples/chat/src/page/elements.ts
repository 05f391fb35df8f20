/**
 * An element of the page by its id.
 *
 * @throws Error when the page has none of that id and kind
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
  /** `auto`: the text's own first strong character decides. */
  readonly dir?: "auto";
}

/** Makes an element. Whatever people wrote goes in as text and never as markup. */
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
