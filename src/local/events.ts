import type { Connection, Ending } from "./connections.ts";

/** What the client sent with its upgrade request, as Node read it: names and values in turn. */
export interface ClientRequest {
  readonly rawHeaders: readonly string[];
  /** Without the question mark; "" for none. */
  readonly query: string;
}

/** Where an event came to. */
export interface EventPlace {
  readonly apiId: string;
  readonly stage: string;
  readonly stageVariables: Readonly<Record<string, string>>;
  /** Host that the client used, with its port where that is not the scheme's own. */
  readonly domainName: string;
  readonly port: number;
}

/** One event to run an integration for. */
export type GatewayEvent = {
  readonly connection: Connection;
  readonly requestId: string;
  readonly place: EventPlace;
  /** When it came, in epoch milliseconds. */
  readonly at: number;
} & (
  | { readonly kind: "connect"; readonly routeKey: "$connect"; readonly client: ClientRequest }
  | {
      readonly kind: "message";
      readonly routeKey: string;
      readonly messageId: string;
      readonly body: Buffer;
    }
  | { readonly kind: "disconnect"; readonly routeKey: "$disconnect"; readonly ending: Ending }
);

/** A variable of `$context`, or undefined where an event has none. */
export function contextVariable(event: GatewayEvent, name: string): string | undefined {
  const read = CONTEXT[name];
  const value = read?.(event);
  return value === undefined || value === "" ? undefined : String(value);
}

/** Whether there is such a variable at all. */
export function isContextVariable(name: string): boolean {
  return Object.hasOwn(CONTEXT, name) || NEVER_SET.has(name);
}

/** Variables that AWS has a value for behind IAM or an API key, or once a request has failed: neither is played here. */
const NEVER_SET: ReadonlySet<string> = new Set([
  "error.message",
  "error.messageString",
  "error.validationErrorString",
  "identity.accountId",
  "identity.apiKey",
  "identity.apiKeyId",
  "identity.caller",
  "identity.cognitoAuthenticationProvider",
  "identity.cognitoAuthenticationType",
  "identity.cognitoIdentityId",
  "identity.cognitoIdentityPoolId",
  "identity.user",
  "identity.userArn",
  "status",
]);

/** Source: AWS developer guide, "WebSocket API mapping template reference". An authorizer's are not there, since there is none. */
const CONTEXT: Readonly<Record<string, (event: GatewayEvent) => string | number | undefined>> = {
  apiId: ({ place }) => place.apiId,
  connectedAt: ({ connection }) => connection.connectedAt,
  connectionId: ({ connection }) => connection.id,
  domainName: ({ place }) => place.domainName,
  eventType: ({ kind }) => kind.toUpperCase(),
  extendedRequestId: ({ requestId }) => requestId,
  "identity.sourceIp": ({ connection }) => connection.sourceIp,
  "identity.userAgent": ({ connection }) => connection.userAgent,
  messageDirection: () => "IN",
  messageId: (event) => (event.kind === "message" ? event.messageId : undefined),
  requestId: ({ requestId }) => requestId,
  requestTime: ({ at }) => requestTime(new Date(at)),
  requestTimeEpoch: ({ at }) => at,
  routeKey: ({ routeKey }) => routeKey,
  stage: ({ place }) => place.stage,
  disconnectStatusCode: (event) => (event.kind === "disconnect" ? event.ending.code : undefined),
  disconnectReason: (event) => (event.kind === "disconnect" ? event.ending.reason : undefined),
};

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** As AWS writes it: `09/Feb/2026:18:11:43 +0000`. */
export function requestTime(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const time = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(two).join(":");
  return `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}:${time} +0000`;
}
