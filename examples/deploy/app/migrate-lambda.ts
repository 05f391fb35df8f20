import { prepare } from "./prepare.ts";

/** Runs in each deployment. */
export const handler = prepare;
