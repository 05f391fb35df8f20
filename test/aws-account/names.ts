/** The tag of each resource. Its value is the id of the run. */
export const TAG = "sallyport-smoke";
/** The names of all resources begin with it. The id of the run follows. */
export const PREFIX = "sallyport-smoke-";
/** The path of the roles, by which they are found. */
export const ROLE_PATH = "/sallyport-smoke/";
export const VIEW_PATH = "/ws/smoke";
export const CHANNEL = "smoke/room";
/** The route that calls the function as a Lambda function, and bypasses Sallyport. */
export const PROBE_ROUTE = "probe";
/** The route that calls Sallyport through the URL of the function. */
export const HTTP_ROUTE = "http";
/** The route that calls the URL of the function, and bypasses Sallyport. */
export const RAW_ROUTE = "raw";
export const RAW_PATH = "/raw";
/** The headers that sign a user in at the token endpoint. */
export const USER_HEADER = "x-smoke-user";
export const KEY_HEADER = "x-smoke-key";

/** Returns the name of the API with URLs as targets, and of its stage. */
export function httpNameOf(runId: string): string {
  return `${nameOf(runId)}-http`;
}

/** Returns the name of the resources of a run, and of its stage. */
export function nameOf(runId: string): string {
  return `${PREFIX}${runId}`;
}
