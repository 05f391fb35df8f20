import type { DecisionContext } from "../audit/decision.ts";
import type { MessageInFlight } from "../auth/message-limits.ts";
import type { ShouldSend } from "../delivery/delivery.ts";
import type { ConnectCall, DisconnectCall, MessageCall } from "../protocol/gateway-call.ts";
import type { HttpRequest } from "../protocol/http.ts";
import type { ConnectionRow } from "../storage/stores/connections.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import type { MountedView } from "../views/mount.ts";

/** An event of API Gateway, from its arrival to its response. Each check adds what it has found. */
export interface EventContext<Call = ConnectCall | MessageCall | DisconnectCall> {
  readonly view: MountedView;
  readonly http: HttpRequest;
  readonly call: Call;
  /** The facts that a decision about the event states. */
  readonly decision: DecisionContext;
  /** The gateway that sent the event, once it was verified. */
  gateway?: Gateway;
  /** Counts the message as in flight until its answer was sent. */
  inFlight?: MessageInFlight;
  /** The connection of the message, once its row was found. */
  connection?: ConnectionRow;
  /** Checks whether the answer may still be sent after it waited in the delivery queue. */
  shouldSend?: ShouldSend;
  /** HTTP status of a denial. The HTTP response to API Gateway can have another one. */
  deniedStatus?: number;
}

export type ConnectEvent = EventContext<ConnectCall>;
export type MessageEvent = EventContext<MessageCall>;
export type DisconnectEvent = EventContext<DisconnectCall>;
