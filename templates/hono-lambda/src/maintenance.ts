import type { AccessChange } from "sallyport";
import { sallyport } from "./sallyport.ts";

/**
 * Creates the tables, stores the rules and registers the gateway. Each deployment that changes the
 * code invokes it.
 *
 * `SALLYPORT_GATEWAY` contains the name, the id, the endpoint and the stage of the API as JSON.
 */
export async function migrate(): Promise<void> {
  const { SALLYPORT_GATEWAY: gateway } = process.env;
  if (!gateway) throw new Error("SALLYPORT_GATEWAY is not set. The stack in deploy/ sets it.");
  await sallyport.migrate();
  await sallyport.registerGateway(JSON.parse(gateway));
}

/** Removes old rows. A schedule invokes it each hour. */
export async function cleanup(): Promise<void> {
  await sallyport.cleanup();
}

/**
 * Makes a change, such as `{ "kind": "grant", "holder": "ann", "permission": "chat.use" }`. Only an
 * administrator may invoke this function.
 */
export function changeAccess(change: AccessChange) {
  return sallyport.access.change(change, { by: "aws lambda invoke" });
}
