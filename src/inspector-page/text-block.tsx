import type { CutText } from "../local/inspector/messages.ts";
import { bytesLabel } from "./event-labels.ts";
import { jsonParts } from "./json-parts.ts";
import { SecretText } from "./secret-text.tsx";

interface TextBlockProps {
  readonly label: string;
  readonly content: CutText;
  /** Whether the text is the event of a function, which contains headers and tokens. */
  readonly hasSecrets?: boolean;
}

/** A body or an event, with an indent if it is JSON. */
export function TextBlock({ label, content, hasSecrets = false }: TextBlockProps) {
  const { text, bytes, isCut } = content;
  return (
    <section aria-label={label}>
      <h4>
        {label} <span className="quiet">{bytesLabel(bytes)}</span>
      </h4>
      {isCut && <p className="note">The text is cut: only its first 16 KB are kept.</p>}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable text needs the keyboard */}
      <pre tabIndex={0}>
        <SecretText parts={jsonParts(text, hasSecrets)} />
      </pre>
    </section>
  );
}
