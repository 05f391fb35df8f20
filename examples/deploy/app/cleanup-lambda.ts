import { sallyport } from "./sallyport.ts";

/** Removes old rows. Runs on a schedule. */
export const handler = async (): Promise<void> => {
  await sallyport.cleanup();
};
