import type { FunctionAuthorizer, LambdaFunction } from "../../../src/local/emulator.ts";
import {
  connect,
  type GatewayUnderTest,
  openBackend,
  openGateway,
  type Place,
  route,
  upgradeOf,
} from "./gateway-under-test.ts";

export const AUTHORIZER = "an authorizer";

interface AuthorizerOptions extends Omit<FunctionAuthorizer, "type" | "handler"> {
  readonly variables?: Readonly<Record<string, string>>;
  /** Mapped on every route. Default: none. */
  readonly parameters?: Record<string, string>;
}

/** Opens a gateway with an authorizer on $connect, in front of the backend of the suite. */
export async function openWithAuthorizer(
  handler: LambdaFunction,
  options: AuthorizerOptions = {},
): Promise<GatewayUnderTest> {
  const { variables = {}, parameters = {}, ...settings } = options;
  const backend = await openBackend();
  const authorization = { type: "CUSTOM", handler, ...settings } as const;
  const routes = {
    $connect: route(backend, "connect", { parameters, authorization }),
    $disconnect: route(backend, "disconnect", { parameters }),
    $default: route(backend, "default", { parameters, routeResponse: true }),
  };
  return openGateway({ apis: [{ id: "a1b2c3d4e5", routes, stages: { dev: { variables } } }] }, backend);
}

/** Returns the policy of an authorizer that allows or denies. */
export function policy(Effect: unknown, Resource: unknown, Action: unknown = "execute-api:Invoke") {
  return {
    principalId: "anna",
    policyDocument: { Version: "2012-10-17", Statement: [{ Effect, Resource, Action }] },
  };
}

export const allowAll: LambdaFunction = ({ methodArn }) => policy("Allow", methodArn);

/** Returns the status of a handshake, and whether the integration of $connect was called. */
export async function handshakeOutcome(
  place: Place,
  query: Record<string, string> = {},
  headers: Record<string, string> = {},
): Promise<readonly [status: number, isCalled: boolean]> {
  const arrived = connect(place, query, { headers });
  const { status } = await upgradeOf(arrived.client);
  return [status, (await arrived.kinds()).length > 0];
}
