/** Events in the form of the local gateway, for unit tests. */

import { Connection } from "../../src/local/connections.ts";
import { type Clock, ManualClock } from "../../src/local/emulator.ts";
import type { EventPlace, GatewayEvent } from "../../src/local/events.ts";

export const PLACE: EventPlace = {
  apiId: "a1b2c3d4e5",
  stage: "dev",
  stageVariables: {},
  domainName: "ws.example.test",
  port: 3001,
  isSecure: false,
};

interface EventFields {
  readonly userAgent?: string;
  readonly clock?: Clock;
  readonly place?: Partial<EventPlace>;
  /** Headers of the client, names and values alternate. */
  readonly rawHeaders?: readonly string[];
  readonly query?: string;
  readonly body?: string;
  readonly routeKey?: string;
}

/** Returns an event of a client at 203.0.113.7. */
export function eventOf<Kind extends GatewayEvent["kind"]>(
  kind: Kind,
  fields: EventFields = {},
): Extract<GatewayEvent, { kind: Kind }> {
  const { userAgent, clock = new ManualClock(1_000_000_000_000), rawHeaders = [], query = "" } = fields;
  const common = {
    connection: new Connection({ sourceIp: "203.0.113.7", userAgent, clock }),
    requestId: "Qyi07eCbtjMCJKw=",
    traceId: "Root=1-6a0123ab-0123456789abcdef01234567",
    place: { ...PLACE, ...fields.place },
    at: clock.now(),
  };
  const events: { readonly [Each in GatewayEvent["kind"]]: Extract<GatewayEvent, { kind: Each }> } = {
    connect: { ...common, kind: "connect", routeKey: "$connect", client: { rawHeaders, query } },
    message: {
      ...common,
      kind: "message",
      routeKey: fields.routeKey ?? "$default",
      messageId: "L0SNwdyOvHcCIhw=",
      body: Buffer.from(fields.body ?? "{}"),
    },
    disconnect: {
      ...common,
      kind: "disconnect",
      routeKey: "$disconnect",
      ending: { code: 1001, reason: "" },
    },
  };
  return events[kind];
}
