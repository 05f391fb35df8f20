/** The HTTP requests of the page. */

export interface Me {
  readonly id: string;
  readonly name: string;
  readonly email: string;
  readonly can: { readonly moderate: boolean };
}

export interface Room {
  readonly slug: string;
  readonly title: string;
  readonly note?: string | null;
}

export interface Config {
  /** WebSocket URL of the local gateway with its stage, such as `ws://localhost:3001/dev`. */
  readonly gatewayUrl: string;
  readonly rooms: readonly Room[];
}

/** A failed request. The message is displayed to the user. */
export class ApiError extends Error {
  /** HTTP status, or 0 if there was no response. */
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

export async function isSignedIn(): Promise<boolean> {
  return (await request("/api/auth/get-session")) !== null;
}

/** @throws ApiError with status 401 if the e-mail address or password is wrong */
export async function signIn(email: string, password: string): Promise<void> {
  await request("/api/auth/sign-in/email", { email, password });
}

export async function signOut(): Promise<void> {
  await request("/api/auth/sign-out", {});
}

/** @throws ApiError with status 401 if the user is not signed in */
export function me(): Promise<Me> {
  return request("/api/me") as Promise<Me>;
}

/**
 * Returns the configuration. The URL of the gateway gets the host name of the page, so that cookies
 * are sent to both.
 */
export async function config(): Promise<Config> {
  const { gatewayUrl, rooms } = (await request("/api/config")) as Config;
  const url = new URL(gatewayUrl);
  url.hostname = location.hostname;
  return { gatewayUrl: url.href, rooms };
}

async function request(path: string, body?: object): Promise<unknown> {
  const posted: RequestInit = body
    ? { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }
    : {};
  const response = await fetch(path, { cache: "no-store", ...posted }).catch(() => {
    throw new ApiError("The server cannot be reached. Try again in a moment.", 0);
  });
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok && answer !== undefined) return answer;
  const { message, error } = (answer ?? {}) as Readonly<Record<string, unknown>>;
  const words = [message, error].find((candidate) => typeof candidate === "string");
  throw new ApiError(
    (words as string | undefined) ?? `The server returned status ${response.status}.`,
    response.status,
  );
}
