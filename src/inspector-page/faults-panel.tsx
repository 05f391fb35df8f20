import { Button, Switch, TextInput } from "@mantine/core";
import { useState } from "react";
import type { FaultState, SWITCHED_FAULTS } from "../local/inspector/messages.ts";
import { sendCommand } from "./commands.ts";

type SwitchedFault = (typeof SWITCHED_FAULTS)[number];

interface FaultDescription {
  readonly name: SwitchedFault;
  readonly label: string;
  readonly effect: string;
  /** The unit of the field. A percentage is sent as a share from 0 to 1. */
  readonly unit: "%" | "ms";
  readonly initial: number;
}

const FAULTS: readonly FaultDescription[] = [
  {
    name: "drop",
    label: "Drop events",
    effect: "The backend does not receive the event. The client receives the answer to a timeout.",
    unit: "%",
    initial: 100,
  },
  {
    name: "delayMs",
    label: "Delay events",
    effect: "The backend is called later.",
    unit: "ms",
    initial: 1000,
  },
  {
    name: "duplicate",
    label: "Duplicate events",
    effect: "The backend is called twice.",
    unit: "%",
    initial: 100,
  },
  {
    name: "gone",
    label: "Answer posts with 410",
    effect: "A post to @connections fails with GoneException.",
    unit: "%",
    initial: 100,
  },
  {
    name: "limitExceeded",
    label: "Answer posts with 429",
    effect: "A post to @connections fails with LimitExceededException.",
    unit: "%",
    initial: 100,
  },
];

/** The switches of the simulated faults. */
export function FaultsPanel({ faults }: { readonly faults: FaultState }) {
  const [problem, setProblem] = useState("");
  const set = async (name: SwitchedFault, value: number) => {
    const result = await sendCommand("set-faults", { [name]: value });
    setProblem(result.isDone ? "" : result.problem);
  };
  return (
    <div className="faults">
      <p>
        These faults can occur at AWS too. They affect the events and the Management API of all stages, until
        you remove them or restart the gateway.
      </p>
      {FAULTS.map((fault) => (
        <FaultRow key={fault.name} fault={fault} value={faults[fault.name]} onSet={set} />
      ))}
      <p role="status" className="report">
        {problem}
      </p>
    </div>
  );
}

interface FaultRowProps {
  readonly fault: FaultDescription;
  readonly value: FaultState[string] | undefined;
  readonly onSet: (name: SwitchedFault, value: number) => void;
}

function FaultRow({ fault: { name, label, effect, unit, initial }, value, onSet }: FaultRowProps) {
  const scale = unit === "%" ? 100 : 1;
  const isActive = value !== undefined;
  // An input is kept until the fault changes, also by another page or by code.
  const [input, setInput] = useState<{ readonly text: string; readonly value: typeof value }>();
  const current = String(typeof value === "number" ? value * scale : initial);
  const text = input && input.value === value ? input.text : current;
  const amount = Number(text) / scale;
  return (
    <form
      className="fault-row"
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
        value={text}
        onChange={({ currentTarget }) => setInput({ text: currentTarget.value, value })}
        onBlur={() => isActive && value !== "function" && value !== amount && onSet(name, amount)}
      />
    </form>
  );
}

/** Names the active faults, so that their effects do not surprise. */
export function FaultBanner({ faults }: { readonly faults: FaultState }) {
  const names = Object.entries(faults).map(([name, value]) => {
    const known = FAULTS.find((fault) => fault.name === name);
    const label = known?.label ?? name;
    if (typeof value !== "number") return label;
    return `${label} (${known?.unit === "%" ? `${Math.round(value * 100)} %` : `${value} ms`})`;
  });
  if (names.length === 0) return null;
  return (
    <div className="banner warning" role="status">
      <span>
        <b>Faults are active:</b> {names.join(", ")}.
      </span>
      <Button size="compact-xs" variant="default" onClick={() => void sendCommand("remove-faults")}>
        Remove all faults
      </Button>
    </div>
  );
}
