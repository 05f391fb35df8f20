import { emitKeypressEvents } from "node:readline";

/**
 * Calls a function for each key, if the input is a terminal.
 *
 * @param stdin the input. Default: that of this process
 * @returns a function that stops it
 */
export function onKeys(
  actions: Readonly<Record<string, () => void>>,
  stdin: NodeJS.ReadStream = process.stdin,
): () => void {
  if (!stdin.isTTY) return () => undefined;
  emitKeypressEvents(stdin);
  stdin.setRawMode(true);
  const press = (_text: string | undefined, { name, ctrl }: { name?: string; ctrl?: boolean }) => {
    if (ctrl && name === "c") process.kill(process.pid, "SIGINT");
    else if (name !== undefined && Object.hasOwn(actions, name)) actions[name]?.();
  };
  stdin.on("keypress", press).resume();
  return () => {
    stdin.off("keypress", press).pause();
    stdin.setRawMode(false);
  };
}
