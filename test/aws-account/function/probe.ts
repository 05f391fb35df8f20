import { setTimeout as sleep } from "node:timers/promises";
import { Signer } from "../../../src/delivery/sigv4.ts";

/** How the function answers an event, without Sallyport. */
export type Probe =
  /** Returns this status, with a body and headers. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** Returns the event. */
  | { readonly kind: "event" }
  /** Returns the number of characters of the message. */
  | { readonly kind: "length" }
  | { readonly kind: "throw" }
  /** Returns an object with a key that AWS does not know. */
  | { readonly kind: "malformed" }
  | { readonly kind: "sleep"; readonly ms: number }
  /** Posts to the connection of the event, and returns the status of the post. */
  | { readonly kind: "post" };

/** The part of an event of a WebSocket API that the probes use. */
export interface ProbedEvent {
  readonly requestContext: {
    readonly eventType: string;
    readonly connectionId: string;
    readonly domainName: string;
    readonly stage: string;
  };
  readonly queryStringParameters?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Returns the probe in the query of a connect or in a message, or undefined if there is none. */
export function probeOf({ requestContext, queryStringParameters, body }: ProbedEvent): Probe | undefined {
  if (requestContext.eventType === "CONNECT") return parsed(queryStringParameters?.probe);
  return (parsed(body) as { readonly probe?: Probe } | undefined)?.probe;
}

function parsed(text: string | undefined): Probe | undefined {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Returns the result of a probe. */
export async function answerProbe(probe: Probe, event: ProbedEvent): Promise<unknown> {
  switch (probe.kind) {
    case "status": {
      const { status: statusCode, body, headers } = probe;
      return { statusCode, ...(body === undefined ? {} : { body }), ...(headers ? { headers } : {}) };
    }
    case "event":
      return { statusCode: 200, body: JSON.stringify(event) };
    case "length":
      return { statusCode: 200, body: JSON.stringify({ length: event.body?.length ?? 0 }) };
    case "throw":
      throw new Error("The probe throws.");
    case "malformed":
      return { statusCode: 200, body: "malformed", unknownKey: true };
    case "sleep":
      await sleep(probe.ms);
      return { statusCode: 200, body: "slept" };
    case "post":
      return { statusCode: 200, body: await postToSelf(event) };
  }
}

/** The status of the last post of a probe. */
export let lastPost: string | undefined;

async function postToSelf({ requestContext }: ProbedEvent): Promise<string> {
  const { domainName, stage, connectionId } = requestContext;
  const { AWS_REGION = "", AWS_ACCESS_KEY_ID: accessKeyId = "" } = process.env;
  const { AWS_SECRET_ACCESS_KEY: secretAccessKey = "", AWS_SESSION_TOKEN: sessionToken } = process.env;
  const url = new URL(`https://${domainName}/${stage}/@connections/${encodeURIComponent(connectionId)}`);
  const signer = new Signer(AWS_REGION, { accessKeyId, secretAccessKey, sessionToken });
  const call = { method: "POST", host: url.host, path: url.pathname, body: "early" } as const;
  const response = await fetch(url, {
    method: "POST",
    headers: signer.sign(call, Date.now()),
    body: call.body,
  });
  lastPost = `${response.status} ${response.headers.get("x-amzn-errortype") ?? ""}`.trim();
  return lastPost;
}
