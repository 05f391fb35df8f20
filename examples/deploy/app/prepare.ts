import { sallyport } from "./sallyport.ts";

/**
 * Creates the tables and registers the gateway. It can run in any number of processes at the same
 * time, and again with each deployment.
 *
 * `SALLYPORT_GATEWAY` contains the name, the id, the endpoint and the stage of the API as JSON.
 * `SALLYPORT_SECRET` contains the secret, if the API calls a URL.
 */
export async function prepare(): Promise<void> {
  const { SALLYPORT_GATEWAY: gateway, SALLYPORT_SECRET: secret } = process.env;
  if (!gateway) throw new Error("SALLYPORT_GATEWAY is not set, so the gateway cannot be registered.");
  await sallyport.migrate();
  await sallyport.registerGateway({ ...JSON.parse(gateway), ...(secret ? { secret } : {}) });
}
