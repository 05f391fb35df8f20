import type { CloseInfo, Connection } from "./connections.ts";

/** The upgrade request of a client. */
export interface ClientRequest {
  /** Header names and values in turn, as Node.js reads them. */
  readonly rawHeaders: readonly string[];
  /** The query without the question mark, or "". */
  readonly query: string;
}

/** The API and the stage of an event, and the address that the client used. */
export interface EventPlace {
  readonly apiId: string;
  readonly stage: string;
  readonly stageVariables: Readonly<Record<string, string>>;
  /** The host that the client used, with its port if that is not the default of the scheme. */
  readonly domainName: string;
  readonly port: number;
  /** Whether clients connect with TLS. */
  readonly isSecure: boolean;
}

/** The API key with which a client connected. */
export interface ApiKey {
  readonly apiKey: string;
  readonly apiKeyId: string;
}

/** The signer of an upgrade request, as `identity` contains it. */
export interface Signer {
  readonly accessKey: string;
  readonly accountId: string;
  readonly caller: string;
  readonly user: string;
  readonly userArn: string;
}

/** An event for which an integration is called. */
export type GatewayEvent = {
  readonly connection: Connection;
  readonly requestId: string;
  /** The trace id, which all calls for this event have in common. */
  readonly traceId: string;
  readonly place: EventPlace;
  /** The time of the event, in epoch milliseconds. */
  readonly at: number;
} & (
  | {
      readonly kind: "connect";
      readonly routeKey: "$connect";
      readonly client: ClientRequest;
      /** Undefined if the route does not require a signature, and before it was checked. */
      readonly signer?: Signer;
      readonly key?: ApiKey;
    }
  | {
      readonly kind: "message";
      readonly routeKey: string;
      readonly messageId: string;
      readonly body: Buffer;
    }
  | { readonly kind: "disconnect"; readonly routeKey: "$disconnect"; readonly ending: CloseInfo }
);

export type ConnectEvent = Extract<GatewayEvent, { kind: "connect" }>;
export type MessageEvent = Extract<GatewayEvent, { kind: "message" }>;

/** Returns a variable of `$context`, or undefined if the event has no value for it. */
export function contextVariable(event: GatewayEvent, name: string): string | undefined {
  const field = AUTHORIZER_VARIABLE.exec(name)?.[1];
  const value = field === undefined ? CONTEXT[name]?.(event) : authorizerVariable(event, field);
  return value === undefined || value === "" ? undefined : String(value);
}

/** Returns whether a variable of `$context` with this name exists. */
export function isContextVariable(name: string): boolean {
  return Object.hasOwn(CONTEXT, name) || NEVER_SET.has(name) || AUTHORIZER_VARIABLE.test(name);
}

/** Matches the variables of an authorizer, which chooses their names. */
const AUTHORIZER_VARIABLE = /^authorizer\.([A-Za-z0-9._$-]+)$/;

function authorizerVariable(
  { kind, connection: { authorizer } }: GatewayEvent,
  name: string,
): string | number | undefined {
  if (name === "principalId") return authorizer?.principalId;
  if (name === "integrationLatency") return kind === "connect" ? authorizer?.latencyMs : undefined;
  return authorizer?.context[name];
}

/** Variables that AWS sets with Cognito or after a failed request, which are not emulated. */
const NEVER_SET: ReadonlySet<string> = new Set([
  "error.message",
  "error.messageString",
  "error.validationErrorString",
  "identity.cognitoAuthenticationProvider",
  "identity.cognitoAuthenticationType",
  "identity.cognitoIdentityId",
  "identity.cognitoIdentityPoolId",
  "status",
]);

/**
 * The variables of `$context`. The signer and the API key are available for a connect only, because
 * it is not known whether AWS provides them later.
 *
 * Source: AWS developer guide, "WebSocket API mapping template reference".
 */
const CONTEXT: Readonly<Record<string, (event: GatewayEvent) => string | number | undefined>> = {
  apiId: ({ place }) => place.apiId,
  connectedAt: ({ connection }) => connection.connectedAt,
  connectionId: ({ connection }) => connection.id,
  domainName: ({ place }) => place.domainName,
  eventType: ({ kind }) => kind.toUpperCase(),
  extendedRequestId: ({ requestId }) => requestId,
  "identity.accountId": (event) => signerOf(event)?.accountId,
  "identity.apiKey": (event) => keyOf(event)?.apiKey,
  "identity.apiKeyId": (event) => keyOf(event)?.apiKeyId,
  "identity.caller": (event) => signerOf(event)?.caller,
  "identity.user": (event) => signerOf(event)?.user,
  "identity.userArn": (event) => signerOf(event)?.userArn,
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

function signerOf(event: GatewayEvent): Signer | undefined {
  return event.kind === "connect" ? event.signer : undefined;
}

function keyOf(event: GatewayEvent): ApiKey | undefined {
  return event.kind === "connect" ? event.key : undefined;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Formats a time as AWS does: `09/Feb/2026:18:11:43 +0000`. */
export function requestTime(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const time = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(two).join(":");
  return `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}:${time} +0000`;
}
