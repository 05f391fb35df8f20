/** A failed request. The message is shown to the user. */
export class RequestFailed extends Error {}

/**
 * Requests JSON from the server of the demo.
 *
 * @throws RequestFailed if the server cannot be reached, or returns another status than 2xx
 */
export async function request<Result>(path: string, body?: object): Promise<Result> {
  const post = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, { cache: "no-store", ...post }).catch(() => {
    throw new RequestFailed("The server does not answer. Start it with npm start.");
  });
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok) return answer as Result;
  const { message, error } = (answer ?? {}) as { readonly message?: string; readonly error?: string };
  throw new RequestFailed(message ?? error ?? `The server returned status ${response.status}.`);
}
