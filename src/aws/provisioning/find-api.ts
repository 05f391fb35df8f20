import {
  type Api,
  GetApiCommand,
  GetApisCommand,
  GetRoutesCommand,
  GetStagesCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError, ProvisioningError } from "../../errors.ts";
import type { Gateway } from "../../storage/stores/gateways.ts";
import { GATEWAY_TAG, RECORD_TAG } from "../names.ts";
import type { ControlPlane } from "./control-plane.ts";
import { isBeingMade } from "./recorded.ts";

/** An API that exists at AWS. */
export type FoundApi = Partial<Api> & { readonly ApiId: string };

/** The APIs that belong to a gateway. */
export interface Identified {
  /** Undefined if there is none. It can belong to another database, see `isOurs`. */
  readonly api: FoundApi | undefined;
  /**
   * Ids of empty duplicates. AWS can create an API without answering the call, and not list it when
   * the call is repeated.
   */
  readonly duplicates: readonly string[];
}

/** Interval and time limit of the search for a new API, in milliseconds. */
const SEARCH_INTERVAL_MS = 2000;
const SEARCH_TIMEOUT_MS = 30_000;

/**
 * Returns whether an API belongs to a record. The tag with the name is not sufficient, because
 * another database can use the same name.
 */
export function belongsToRecord(
  { ApiId, Tags }: Pick<Api, "ApiId" | "Tags">,
  record: Gateway | undefined,
): boolean {
  if (record === undefined) return false;
  const recordId = Tags?.[RECORD_TAG];
  return recordId === record.id || (recordId === undefined && ApiId === record.apiId);
}

/** Returns whether an API belongs to a CloudFormation stack, which would undo other changes. */
export function isStackApi({ Tags = {} }: Pick<Api, "Tags">): boolean {
  return Object.keys(Tags).some((name) => name.startsWith("aws:cloudformation:"));
}

/** @throws ConfigurationError if the API belongs to a CloudFormation stack */
export function rejectStackApi(api: Pick<Api, "ApiId" | "Tags">): void {
  if (!isStackApi(api)) return;
  throw new ConfigurationError(
    `The API ${api.ApiId} belongs to a CloudFormation stack, which would undo the changes of this command. Change it through its stack.`,
  );
}

/** Returns every API that AWS lists in the region. @throws ProvisioningError */
export async function listApis(plane: ControlPlane): Promise<readonly FoundApi[]> {
  const apis = await plane.list((NextToken) => plane.read(new GetApisCommand({ NextToken })));
  return apis.map((api) => ({ ...api, ApiId: api.ApiId ?? "" }));
}

/**
 * Finds the API of a gateway by its record and its tags.
 *
 * @throws ConfigurationError if several APIs match and more than one is in use
 */
export async function findApi(
  plane: ControlPlane,
  name: string,
  record: Gateway | undefined,
): Promise<Identified> {
  // A new API is missing from the list for a time, and a deleted one remains in it for a time.
  const recorded = await recordedApi(plane, record);
  const listed = (await listApis(plane)).filter(({ ApiId }) => ApiId !== record?.apiId);
  const all = recorded ? [recorded, ...listed] : listed;
  const ours = await existing(
    plane,
    all.filter((api) => belongsToRecord(api, record)),
  );
  const named = all.filter((api) => !belongsToRecord(api, record) && api.Tags?.[GATEWAY_TAG] === name);
  if (ours.length === 0) return { api: (await existing(plane, named))[0], duplicates: [] };
  // An API with the id of another record belongs to another database.
  const doubtful = await existing(
    plane,
    named.filter(({ Tags }) => Tags?.[RECORD_TAG] === undefined),
  );
  if (doubtful.length > 0) throw ambiguous(plane, name, [...ours, ...doubtful]);
  if (ours.length === 1) return { api: ours[0], duplicates: [] };
  const isEmpty = new Map<FoundApi, boolean>();
  for (const api of ours) isEmpty.set(api, await isEmptyApi(plane, api));
  const byAge = [...ours].sort((one, other) => ageOf(one) - ageOf(other));
  const kept =
    ours.find(({ ApiId }) => ApiId === record?.apiId) ?? ours.find((api) => !isEmpty.get(api)) ?? byAge[0];
  const twins = ours.filter((api) => api !== kept);
  if (!twins.every((api) => isEmpty.get(api))) throw ambiguous(plane, name, ours);
  return { api: kept, duplicates: twins.map(({ ApiId }) => ApiId) };
}

/**
 * Returns the API that an unanswered call created, or undefined if it does not appear within 30
 * seconds.
 */
export async function findCreatedApi(plane: ControlPlane, recordId: string): Promise<FoundApi | undefined> {
  return findInTime(plane, async () =>
    (await listApis(plane)).find(({ Tags }) => Tags?.[RECORD_TAG] === recordId),
  );
}

/** Returns the API with the id in the record, or undefined if AWS does not return it. */
export async function recordedApi(
  plane: ControlPlane,
  record: Gateway | undefined,
): Promise<FoundApi | undefined> {
  const id = record?.apiId;
  if (!id) return undefined;
  const api = await readApi(plane, id);
  if (api || !isBeingMade(record)) return api;
  return findInTime(plane, () => readApi(plane, id));
}

/** Repeats a search until it finds an API, for up to 30 seconds. */
async function findInTime(
  plane: ControlPlane,
  search: () => Promise<FoundApi | undefined>,
): Promise<FoundApi | undefined> {
  for (let waitedMs = 0; waitedMs < SEARCH_TIMEOUT_MS; waitedMs += SEARCH_INTERVAL_MS) {
    await plane.wait(SEARCH_INTERVAL_MS);
    const found = await search().catch((error: unknown) => {
      if (error instanceof ProvisioningError && error.isTransient) return undefined;
      throw error;
    });
    if (found) return found;
  }
  return undefined;
}

/** Returns undefined if the API does not exist. */
async function readApi(plane: ControlPlane, ApiId: string): Promise<FoundApi | undefined> {
  try {
    return { ...(await plane.read(new GetApiCommand({ ApiId }))), ApiId };
  } catch (error) {
    if (error instanceof ProvisioningError && error.awsStatus === 404) return undefined;
    throw error;
  }
}

async function existing(plane: ControlPlane, listed: readonly FoundApi[]): Promise<readonly FoundApi[]> {
  const read = await Promise.all(listed.map(({ ApiId }) => readApi(plane, ApiId)));
  return read.filter((api) => api !== undefined);
}

function ageOf({ CreatedDate }: FoundApi): number {
  return CreatedDate?.getTime() ?? 0;
}

async function isEmptyApi(plane: ControlPlane, { ApiId }: FoundApi): Promise<boolean> {
  const { Items: routes = [] } = await plane.read(new GetRoutesCommand({ ApiId }));
  const { Items: stages = [] } = await plane.read(new GetStagesCommand({ ApiId }));
  return routes.length === 0 && stages.length === 0;
}

function ambiguous({ region }: ControlPlane, name: string, apis: readonly FoundApi[]): ConfigurationError {
  const ids = apis.map(({ ApiId }) => ApiId).join(" and ");
  return new ConfigurationError(
    `The APIs ${ids} in ${region} are all tagged as the gateway "${name}", but only one can be its API. Remove the tags ${GATEWAY_TAG} and ${RECORD_TAG} from the others, or delete the others.`,
  );
}
