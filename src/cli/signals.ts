/** The signal that ends the process. */
export interface EndSignal {
  /**
   * Waits for the signal.
   *
   * @param ms the maximum wait in milliseconds
   * @returns false if it was not received within this time
   */
  within(ms: number): Promise<boolean>;
}

/** Starts to listen for SIGINT (Ctrl-C) and SIGTERM, which then no longer end the process. */
export function endSignal(): EndSignal {
  let isReceived = false;
  let end = (): void => undefined;
  const signal = new Promise<true>((resolve) => {
    end = () => {
      isReceived = true;
      resolve(true);
    };
  });
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  return {
    within: async (ms) => {
      if (isReceived) return true;
      let timer: NodeJS.Timeout | undefined;
      const passed = new Promise<false>((resolve) => {
        timer = setTimeout(() => resolve(false), ms);
      });
      const received = await Promise.race([signal, passed]);
      clearTimeout(timer);
      return received;
    },
  };
}
