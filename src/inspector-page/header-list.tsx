import type { Header } from "../local/inspector/messages.ts";
import { SecretText } from "./secret-text.tsx";
import { isSecretName } from "./secrets.ts";

/** Headers with their values. The values of secret headers are hidden. */
export function HeaderList({ headers }: { readonly headers: readonly Header[] }) {
  if (headers.length === 0) return <p className="quiet">No headers.</p>;
  return (
    <dl className="pairs">
      {headers.map(([name, value], index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a header can occur more than once
        <div key={index}>
          <dt>{name}</dt>
          <dd>
            <SecretText parts={[isSecretName(name) ? { text: value, secretName: name } : { text: value }]} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
