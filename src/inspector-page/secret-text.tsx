import { useState } from "react";
import type { TextPart } from "./secrets.ts";

/** A text whose secret parts are hidden until the user shows them. */
export function SecretText({ parts }: { readonly parts: readonly TextPart[] }) {
  return parts.map(({ text, secretName }, index) =>
    secretName === undefined ? (
      text
    ) : (
      // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text do not change their order
      <Secret key={index} name={secretName} value={text} />
    ),
  );
}

function Secret({ name, value }: { readonly name: string; readonly value: string }) {
  const [isShown, setShown] = useState(false);
  return (
    <span>
      {isShown ? value : <span className="mask">••••••••</span>}{" "}
      <button
        type="button"
        className="link-button"
        aria-label={`${isShown ? "Hide" : "Show"} the value of ${name}`}
        onClick={() => setShown(!isShown)}
      >
        {isShown ? "Hide" : "Show"}
      </button>
    </span>
  );
}
