import type { FunctionAuthorizer, LambdaFunction } from "../../../src/local/emulator.ts";
import { connect, type Desk, openBackend, openDesk, type Place, route, upgradeOf } from "./desk.ts";

export const AUTHORIZER = "an authorizer";

interface Guard extends Omit<FunctionAuthorizer, "type" | "handler"> {
  readonly variables?: Readonly<Record<string, string>>;
  /** Mapped on every route. Default: none. */
  readonly parameters?: Record<string, string>;
}

/** A desk whose $connect is guarded, before the suite's backend. */
export async function guarded(handler: LambdaFunction, guard: Guard = {}): Promise<Desk> {
  const { variables = {}, parameters = {}, ...settings } = guard;
  const backend = await openBackend();
  const authorization = { type: "CUSTOM", handler, ...settings } as const;
  const routes = {
    $connect: route(backend, "connect", { parameters, authorization }),
    $disconnect: route(backend, "disconnect", { parameters }),
    $default: route(backend, "default", { parameters, routeResponse: true }),
  };
  return openDesk({ apis: [{ id: "a1b2c3d4e5", routes, stages: { dev: { variables } } }] }, backend);
}

/** What an authorizer answers that lets in or keeps out. */
export function policy(Effect: unknown, Resource: unknown, Action: unknown = "execute-api:Invoke") {
  return {
    principalId: "anna",
    policyDocument: { Version: "2012-10-17", Statement: [{ Effect, Resource, Action }] },
  };
}

export const admitting: LambdaFunction = ({ methodArn }) => policy("Allow", methodArn);

/** The status of a handshake, and whether $connect's integration was called. */
export async function arrival(
  place: Place,
  query: Record<string, string> = {},
  headers: Record<string, string> = {},
): Promise<readonly [status: number, isCalled: boolean]> {
  const arrived = connect(place, query, { headers });
  const { status } = await upgradeOf(arrived.client);
  return [status, (await arrived.kinds()).length > 0];
}
