import * as v from "valibot";
import { ConfigurationError } from "../../errors.ts";
import { MAX_MESSAGE_BYTES } from "../../protocol/quotas.ts";
import type { Connection } from "../connections.ts";
import type { FaultSwitches, Faults } from "../faults.ts";
import type { Stage } from "../stages.ts";
import type { Feed } from "./feed.ts";
import { type FaultState, SWITCHED_FAULTS } from "./messages.ts";
import type { Recorder } from "./recorder.ts";

/** The parts of the gateway that the page reads and changes. */
export interface Inspected {
  readonly stages: Iterable<Stage>;
  readonly faults: FaultSwitches;
  readonly recorder: Recorder;
  readonly feed: Feed;
}

interface CommandAnswer {
  readonly status: number;
  readonly body: object;
}

const ID = v.object({ connectionId: v.string() });
const DETAILS = v.object({ id: v.number() });
const SEND = v.object({ ...ID.entries, data: v.string() });
const IMPAIR = v.object({
  ...ID.entries,
  fault: v.picklist(["none", "half-open", "not-reading"]),
});
const FAULTS = v.strictObject(v.entriesFromList(SWITCHED_FAULTS, v.optional(v.number())));

/** Runs a command of the page. An unknown command is answered with 404, and invalid input with 400. */
export function runCommand(name: string, input: unknown, inspected: Inspected): CommandAnswer {
  try {
    switch (name) {
      case "details":
        return details(v.parse(DETAILS, input).id, inspected);
      case "send":
        return send(v.parse(SEND, input), inspected);
      case "close":
        return close(v.parse(ID, input).connectionId, inspected);
      case "impair":
        return impair(v.parse(IMPAIR, input), inspected);
      case "set-faults":
        return setFaults(v.parse(FAULTS, input), inspected);
      case "remove-faults":
        inspected.faults.set({});
        return DONE;
      case "clear":
        inspected.recorder.clear();
        inspected.feed.reset();
        return DONE;
      default:
        return problem(404, "There is no such command. Reload the page.");
    }
  } catch (error) {
    if (error instanceof v.ValiError || error instanceof ConfigurationError)
      return problem(400, error.message);
    throw error;
  }
}

/** Returns the active faults as JSON. A function is replaced by the text "function". */
export function faultState(faults: Faults): FaultState {
  const entries = Object.entries(faults).flatMap(([name, value]) => {
    const isActive = value !== undefined && value !== 0 && value !== false && name !== "seed";
    return isActive ? [[name, typeof value === "function" ? "function" : value] as const] : [];
  });
  return Object.fromEntries(entries);
}

const DONE: CommandAnswer = { status: 200, body: {} };
const CLOSED = problem(410, "The connection is closed.");

function problem(status: number, message: string): CommandAnswer {
  return { status, body: { message } };
}

function details(id: number, { recorder }: Inspected): CommandAnswer {
  const body = recorder.findDetails(id);
  return body ? { status: 200, body } : problem(404, "The event is no longer kept.");
}

function send({ connectionId, data }: v.InferOutput<typeof SEND>, { stages }: Inspected): CommandAnswer {
  const bytes = Buffer.from(data);
  if (bytes.length > MAX_MESSAGE_BYTES)
    return problem(
      413,
      `The message has ${bytes.length} bytes, but at most ${MAX_MESSAGE_BYTES} are allowed.`,
    );
  const result = findConnection(stages, connectionId)?.send(bytes) ?? "gone";
  if (result === "sent") return DONE;
  return result === "gone" ? CLOSED : problem(429, "The client does not read, and its buffer is full.");
}

function close(connectionId: string, { stages }: Inspected): CommandAnswer {
  const connection = findConnection(stages, connectionId);
  if (!connection?.isOpen) return CLOSED;
  connection.end({ code: 1000, reason: "Connection Closed Normally" });
  return DONE;
}

function impair({ connectionId, fault }: v.InferOutput<typeof IMPAIR>, { stages }: Inspected): CommandAnswer {
  return findConnection(stages, connectionId)?.impair(fault, undefined) ? DONE : CLOSED;
}

/** Changes single faults. A value of 0 removes a fault, and other faults stay. */
function setFaults(changes: v.InferOutput<typeof FAULTS>, { faults }: Inspected): CommandAnswer {
  faults.change(changes as Faults);
  return DONE;
}

function findConnection(stages: Iterable<Stage>, id: string): Connection | undefined {
  for (const { connections } of stages) {
    const connection = connections.find(id);
    if (connection) return connection;
  }
  return undefined;
}
