import { Button, NativeSelect, Textarea } from "@mantine/core";
import { useState } from "react";
import type { ConnectionRow } from "../local/inspector/messages.ts";
import { sendCommand } from "./commands.ts";

const FAULTS = [
  { value: "none", label: "None" },
  { value: "half-open", label: "Half-open: the client lost its network" },
  { value: "not-reading", label: "Not reading: the buffer of the client is full" },
];

/** Sends a message to a client, closes its connection, and simulates faults of its network. */
export function ConnectionActions({ row }: { readonly row: ConnectionRow }) {
  const [data, setData] = useState("");
  const [report, setReport] = useState("");
  const run = async (name: string, input: object, done: string) => {
    const result = await sendCommand(name, { connectionId: row.id, ...input });
    setReport(result.isDone ? done : result.problem);
  };
  return (
    <section aria-label="Actions" className="actions">
      <h3>Actions</h3>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run("send", { data }, "The message was sent.");
        }}
      >
        <Textarea
          size="xs"
          label="Message to the client"
          autosize={false}
          rows={3}
          value={data}
          onChange={({ currentTarget }) => setData(currentTarget.value)}
        />
        <Button size="xs" type="submit">
          Send
        </Button>
      </form>
      <NativeSelect
        size="xs"
        label="Network fault"
        data={FAULTS}
        value={row.fault}
        onChange={({ currentTarget }) =>
          void run("impair", { fault: currentTarget.value }, "The network fault was set.")
        }
      />
      <Button
        size="xs"
        variant="default"
        className="close-button"
        onClick={() => void run("close", {}, "The connection is closing.")}
      >
        Close the connection
      </Button>
      <p role="status" className="report">
        {report}
      </p>
    </section>
  );
}
