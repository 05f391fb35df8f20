import type { CloseInfo, Connection } from "./connections.ts";

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
  /** Whether clients come by TLS. */
  readonly isSecure: boolean;
}

/** The API key that a client was let in by. */
export interface ApiKey {
  readonly apiKey: string;
  readonly apiKeyId: string;
}

/** Who signed an upgrade request, as `identity` shows it. */
export interface Signer {
  readonly accessKey: string;
  readonly accountId: string;
  readonly caller: string;
  readonly user: string;
  readonly userArn: string;
}

/** One event to run an integration for. */
export type GatewayEvent = {
  readonly connection: Connection;
  readonly requestId: string;
  /** The same to all that are called for it, and another for each event. */
  readonly traceId: string;
  readonly place: EventPlace;
  /** When it came, in epoch milliseconds. */
  readonly at: number;
} & (
  | {
      readonly kind: "connect";
      readonly routeKey: "$connect";
      readonly client: ClientRequest;
      /** Absent where the route asks for none, and until it has been looked at. */
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

/** A variable of `$context`, or undefined where an event has none. */
export function contextVariable(event: GatewayEvent, name: string): string | undefined {
  const said = AUTHORIZER_VARIABLE.exec(name)?.[1];
  const value = said === undefined ? CONTEXT[name]?.(event) : authorizerVariable(event, said);
  return value === undefined || value === "" ? undefined : String(value);
}

/** Whether there is such a variable at all. */
export function isContextVariable(name: string): boolean {
  return Object.hasOwn(CONTEXT, name) || NEVER_SET.has(name) || AUTHORIZER_VARIABLE.test(name);
}

/** An authorizer chooses the names of what it says. */
const AUTHORIZER_VARIABLE = /^authorizer\.([A-Za-z0-9._$-]+)$/;

function authorizerVariable(
  { kind, connection: { authorizer } }: GatewayEvent,
  name: string,
): string | number | undefined {
  if (name === "principalId") return authorizer?.principalId;
  if (name === "integrationLatency") return kind === "connect" ? authorizer?.latencyMs : undefined;
  return authorizer?.context[name];
}

/** Variables that AWS has a value for behind Cognito, or once a request has failed: neither is played here. */
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

/** Source: AWS developer guide, "WebSocket API mapping template reference". Who signed, and by what key, is told of a connect alone: that AWS tells it later is not known. */
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

/** As AWS writes it: `09/Feb/2026:18:11:43 +0000`. */
export function requestTime(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const time = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(two).join(":");
  return `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}:${time} +0000`;
}
