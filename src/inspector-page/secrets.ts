/** A part of a text. A secret part is hidden until the user shows it. */
export interface TextPart {
  readonly text: string;
  /** What a secret is, such as "ws_token". Undefined for a part that is not secret. */
  readonly secretName?: string;
}

/** Returns whether the value of a header or parameter is a secret, by its name. */
export function isSecretName(name: string): boolean {
  return /secret|authorization|cookie|token/i.test(name);
}

/** Splits a URL, so that the values of secret parameters are secret parts, such as `ws_token`. */
export function urlParts(url: string): readonly TextPart[] {
  const parts: TextPart[] = [];
  let end = 0;
  for (const match of url.matchAll(/[?&]([^=&#]+)=([^&#]+)/g)) {
    const [all, encodedName = "", value = ""] = match;
    const name = decoded(encodedName);
    if (!isSecretName(name)) continue;
    const start = match.index + all.length - value.length;
    parts.push({ text: url.slice(end, start) }, { text: value, secretName: name });
    end = start + value.length;
  }
  return [...parts, { text: url.slice(end) }].filter(({ text }) => text !== "");
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
