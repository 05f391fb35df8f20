/** Whether the process received a signal to end. */
export interface EndSignal {
  /** Waits for the signal. @returns false if it did not come within this time */
  within(ms: number): Promise<boolean>;
}

/** Starts to listen for SIGINT (Ctrl-C) and SIGTERM, which then no longer end the process by themselves. */
export function endSignal(): EndSignal {
  let hasCome = false;
  let end = (): void => undefined;
  const signal = new Promise<true>((resolve) => {
    end = () => {
      hasCome = true;
      resolve(true);
    };
  });
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  return {
    within: async (ms) => {
      if (hasCome) return true;
      let timer: NodeJS.Timeout | undefined;
      const passed = new Promise<false>((resolve) => {
        timer = setTimeout(() => resolve(false), ms);
      });
      const came = await Promise.race([signal, passed]);
      clearTimeout(timer);
      return came;
    },
  };
}
