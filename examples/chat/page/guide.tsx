import { CloseButton, Group, Text } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import classes from "./app.module.css";

const STEPS = [
  "Turn off “Use chat” of Alice in Access.",
  "Her socket closes, and her page says why.",
  "Click a line in Live to see each rule.",
];

/** What to try first. It stays closed after it was closed once. */
export function Guide() {
  const [isClosed, setClosed] = useLocalStorage({ key: "sallyport-demo-guide", defaultValue: false });
  if (isClosed) return null;
  return (
    <aside aria-label="What to try" className={classes.guide}>
      <Group component="ol" gap="lg" className={classes.steps}>
        {STEPS.map((step, index) => (
          <Text key={step} component="li" size="sm">
            <b aria-hidden>{index + 1}</b> {step}
          </Text>
        ))}
      </Group>
      <CloseButton size="sm" aria-label="Close the guide" onClick={() => setClosed(true)} />
    </aside>
  );
}
