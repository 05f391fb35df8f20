import type { EventDetails } from "../local/inspector/messages.ts";

/** The answer to a command, or the message of the problem if the command failed. */
export type CommandResult<Body = unknown> =
  | { readonly isDone: true; readonly body: Body }
  | { readonly isDone: false; readonly problem: string };

/** Sends a command to the gateway. The promise never rejects. */
export async function sendCommand(name: string, input: object = {}): Promise<CommandResult> {
  try {
    const response = await request(name, input);
    const body = (await response.json()) as { readonly message?: string };
    if (response.ok) return { isDone: true, body };
    return { isDone: false, problem: body.message ?? `The gateway answered ${response.status}.` };
  } catch {
    return { isDone: false, problem: "The gateway does not answer." };
  }
}

/** Returns an event with its request and response. */
export async function fetchDetails(id: number): Promise<CommandResult<EventDetails>> {
  return (await sendCommand("details", { id })) as CommandResult<EventDetails>;
}

/** Sends a request to the API of the inspector, which accepts JSON only. */
export function request(name: string, input: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`/.inspector/${name}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(input),
    signal: signal ?? null,
  });
}
