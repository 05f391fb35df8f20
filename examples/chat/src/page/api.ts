/** The app's HTTP side, as far as the page uses it. */

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
  /** The local gateway's stage, such as `ws://localhost:3001/dev`. */
  readonly gatewayUrl: string;
  readonly rooms: readonly Room[];
}

/** A request that the app refused or could not answer. The message is for people. */
export class ApiError extends Error {
  /** HTTP status, or 0 when no answer came. */
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

export async function isSignedIn(): Promise<boolean> {
  return (await request("/api/auth/get-session")) !== null;
}

/** @throws ApiError 401 for a wrong e-mail address or password */
export async function signIn(email: string, password: string): Promise<void> {
  await request("/api/auth/sign-in/email", { email, password });
}

export async function signOut(): Promise<void> {
  await request("/api/auth/sign-out", {});
}

/** @throws ApiError 401 when nobody is signed in */
export function me(): Promise<Me> {
  return request("/api/me") as Promise<Me>;
}

/** The gateway's address is given the host name that this page came from, so that cookies reach both. */
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
    (words as string | undefined) ?? `The server answered ${response.status}.`,
    response.status,
  );
}
