import { Button, Switch, TextInput } from "@mantine/core";
import { useState } from "react";
import { type FaultState, SWITCHED_FAULTS, type SwitchedFault } from "../local/inspector/messages.ts";
import { sendCommand } from "./commands.ts";

interface FaultDescription {
  readonly label: string;
  readonly effect: string;
  /** The unit of the field. A percentage is sent as a share from 0 to 1. */
  readonly unit: "%" | "ms";
  readonly initial: number;
}

const FAULTS: Readonly<Record<SwitchedFault, FaultDescription>> = {
  drop: {
    label: "Drop events",
    effect: "The backend never receives the event. The client receives a timeout error.",
    unit: "%",
    initial: 100,
  },
  delayMs: {
    label: "Delay events",
    effect: "The backend receives the event later.",
    unit: "ms",
    initial: 1000,
  },
  duplicate: {
    label: "Duplicate events",
    effect: "The backend receives the event twice. The client receives the first answer.",
    unit: "%",
    initial: 100,
  },
  gone: {
    label: "Answer posts with 410",
    effect: "A post to @connections fails with GoneException. The connection stays open.",
    unit: "%",
    initial: 100,
  },
  limitExceeded: {
    label: "Answer posts with 429",
    effect: "A post to @connections fails with LimitExceededException.",
    unit: "%",
    initial: 100,
  },
};

/** The switches of the simulated faults. */
export function FaultsPanel({ faults }: { readonly faults: FaultState }) {
  const [problem, setProblem] = useState("");
  const set = async (name: SwitchedFault, value: number) => {
    const result = await sendCommand("set-faults", { [name]: value });
    setProblem(result.isDone ? "" : result.problem);
  };
  return (
    <div className="faults">
      <h2>Simulated faults</h2>
      <p className="quiet">
        Each of these faults can occur at AWS. Faults apply to every stage until you turn them off.
      </p>
      {SWITCHED_FAULTS.map((name) => (
        <FaultRow key={name} name={name} value={faults[name]} onSet={set} />
      ))}
      <p role="status" className="report">
        {problem}
      </p>
    </div>
  );
}

interface FaultRowProps {
  readonly name: SwitchedFault;
  readonly value: FaultState[string] | undefined;
  readonly onSet: (name: SwitchedFault, value: number) => void;
}

function FaultRow({ name, value, onSet }: FaultRowProps) {
  const { label, effect, unit, initial } = FAULTS[name];
  const scale = unit === "%" ? 100 : 1;
  const isActive = value !== undefined;
  // An input is kept until the fault changes, also by another page or by code.
  const [input, setInput] = useState<{ readonly text: string; readonly value: typeof value }>();
  const current = String(typeof value === "number" ? value * scale : initial);
  const text = input && input.value === value ? input.text : current;
  const amount = Number(text) / scale;
  return (
    <form
      className={isActive ? "fault-row" : "fault-row off"}
      onSubmit={(event) => {
        event.preventDefault();
        onSet(name, amount);
      }}
    >
      <Switch
        size="sm"
        label={label}
        description={value === "function" ? `${effect} A function of your code selects the events.` : effect}
        checked={isActive}
        onChange={({ currentTarget }) => onSet(name, currentTarget.checked ? amount || initial / scale : 0)}
      />
      <TextInput
        size="xs"
        type="number"
        min={0}
        max={unit === "%" ? 100 : undefined}
        step="any"
        aria-label={`${label}, in ${unit}`}
        rightSection={<span className="unit">{unit}</span>}
        rightSectionWidth={36}
        value={text}
        onChange={({ currentTarget }) => setInput({ text: currentTarget.value, value })}
        onBlur={() => isActive && value !== "function" && value !== amount && onSet(name, amount)}
      />
    </form>
  );
}

/** Names the active faults, so that a user who forgot them finds the cause of their effects. */
export function FaultBanner({ faults }: { readonly faults: FaultState }) {
  const names = Object.entries(faults).map(([name, value]) => activeLabel(name, value));
  if (names.length === 0) return null;
  return (
    <div className="banner warning" role="status">
      <span className="text">
        <b>{names.length === 1 ? "1 fault active" : `${names.length} faults active`}</b>
        <span className="names">: {names.join(", ")}</span>
      </span>
      <Button
        size="compact-xs"
        variant="default"
        aria-label="Remove all faults"
        onClick={() => void sendCommand("remove-faults")}
      >
        Remove
      </Button>
    </div>
  );
}

/** Returns the name of an active fault with its value. Code can also set faults without a switch. */
function activeLabel(name: string, value: FaultState[string]): string {
  const known = isSwitched(name) ? FAULTS[name] : undefined;
  const label = known?.label ?? name;
  if (typeof value !== "number") return label;
  return `${label} (${known?.unit === "%" ? `${Math.round(value * 100)} %` : `${value} ms`})`;
}

function isSwitched(name: string): name is SwitchedFault {
  return (SWITCHED_FAULTS as readonly string[]).includes(name);
}
