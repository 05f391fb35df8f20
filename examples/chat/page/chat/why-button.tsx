import { Button } from "@mantine/core";
import { useState } from "react";
import { Explanation } from "../live/explanation.tsx";
import { useDecision } from "../live/live-provider.tsx";
import classes from "./chat.module.css";

/** Opens the explanation of a decision. It is absent until the live panel has received the decision. */
export function WhyButton({ reference }: { readonly reference: string }) {
  const decision = useDecision(reference);
  const [isOpen, setOpen] = useState(false);
  if (!decision) return null;
  return (
    <>
      <Button size="compact-sm" variant="default" className={classes.touch} onClick={() => setOpen(true)}>
        Why?
      </Button>
      <Explanation entry={isOpen ? decision : undefined} onClose={() => setOpen(false)} />
    </>
  );
}
