import {
  type Api,
  GetApiCommand,
  GetApisCommand,
  GetRoutesCommand,
  GetStagesCommand,
} from "@aws-sdk/client-apigatewayv2";
import type { Gateway } from "../../auth/gateways.ts";
import { ConfigurationError, ProvisioningError } from "../../errors.ts";
import { GATEWAY_TAG, RECORD_TAG } from "../tags.ts";
import type { ControlPlane } from "./control-plane.ts";
import { isBeingMade } from "./recorded.ts";

export type FoundApi = Partial<Api> & { readonly ApiId: string };

/** Which APIs are a gateway's. */
export interface Identified {
  /** Undefined where there is none. Whether it is this database's says `isOurs`. */
  readonly api: FoundApi | undefined;
  /** Ids of further ones with nothing in them: made by a call whose outcome AWS had not told, nor shown when it was asked. */
  readonly twins: readonly string[];
}

/** How often, and how long, an API is looked for that was made, or may have been, in milliseconds. */
const SHOWN_PAUSE_MS = 2000;
const SHOWN_PATIENCE_MS = 30_000;

/** Whether an API is what our record is of. A name alone may be another database's, and so is what has the tag of another record. */
export function isOurs({ ApiId, Tags }: Pick<Api, "ApiId" | "Tags">, record: Gateway | undefined): boolean {
  if (record === undefined) return false;
  const of = Tags?.[RECORD_TAG];
  return of === record.id || (of === undefined && ApiId === record.apiId);
}

/** Whether a stack of CloudFormation made an API, and would undo what others do to it. */
export function isOfStack({ Tags = {} }: Pick<Api, "Tags">): boolean {
  return Object.keys(Tags).some((name) => name.startsWith("aws:cloudformation:"));
}

/** @throws ConfigurationError for an API of a stack */
export function refuseStack(api: Pick<Api, "ApiId" | "Tags">): void {
  if (!isOfStack(api)) return;
  throw new ConfigurationError(
    `The API ${api.ApiId} belongs to a stack of CloudFormation, which would undo what is done here.`,
  );
}

/** Every API that AWS shows in the region. @throws ControlPlaneError */
export async function listApis(plane: ControlPlane): Promise<readonly FoundApi[]> {
  const apis = await plane.list((NextToken) => plane.read(new GetApisCommand({ NextToken })));
  return apis.map((api) => ({ ...api, ApiId: api.ApiId ?? "" }));
}

/** @throws ConfigurationError where several are meant, and more than one is in use */
export async function findApi(
  plane: ControlPlane,
  name: string,
  record: Gateway | undefined,
): Promise<Identified> {
  // A list shows what was made only after a while, and goes on showing what is gone.
  const recorded = await recordedApi(plane, record);
  const listed = (await listApis(plane)).filter(({ ApiId }) => ApiId !== record?.apiId);
  const all = recorded ? [recorded, ...listed] : listed;
  const ours = await existing(
    plane,
    all.filter((api) => isOurs(api, record)),
  );
  const named = all.filter((api) => !isOurs(api, record) && api.Tags?.[GATEWAY_TAG] === name);
  if (ours.length === 0) return { api: (await existing(plane, named))[0], twins: [] };
  // One that says whose it is, is not ours.
  const doubtful = await existing(
    plane,
    named.filter(({ Tags }) => Tags?.[RECORD_TAG] === undefined),
  );
  if (doubtful.length > 0) throw ambiguous(plane, name, [...ours, ...doubtful]);
  if (ours.length === 1) return { api: ours[0], twins: [] };
  const isEmpty = new Map<FoundApi, boolean>();
  for (const api of ours) isEmpty.set(api, await hasNothing(plane, api));
  const byAge = [...ours].sort((one, other) => ageOf(one) - ageOf(other));
  const kept =
    ours.find(({ ApiId }) => ApiId === record?.apiId) ?? ours.find((api) => !isEmpty.get(api)) ?? byAge[0];
  const twins = ours.filter((api) => api !== kept);
  if (!twins.every((api) => isEmpty.get(api))) throw ambiguous(plane, name, ours);
  return { api: kept, twins: twins.map(({ ApiId }) => ApiId) };
}

/** What may be made of a call that AWS did not answer: its API, which it may show only after a while. */
export async function madeNevertheless(plane: ControlPlane, recordId: string): Promise<FoundApi | undefined> {
  return shownInTime(plane, async () =>
    (await listApis(plane)).find(({ Tags }) => Tags?.[RECORD_TAG] === recordId),
  );
}

/** The API whose id our record has; undefined where there is none, or AWS does not show it. */
export async function recordedApi(
  plane: ControlPlane,
  record: Gateway | undefined,
): Promise<FoundApi | undefined> {
  const id = record?.apiId;
  if (!id) return undefined;
  const api = await readApi(plane, id);
  if (api || !isBeingMade(record)) return api;
  return shownInTime(plane, () => readApi(plane, id));
}

/** Looks until there is something to be seen, or for half a minute. */
async function shownInTime(
  plane: ControlPlane,
  look: () => Promise<FoundApi | undefined>,
): Promise<FoundApi | undefined> {
  for (let waitedMs = 0; waitedMs < SHOWN_PATIENCE_MS; waitedMs += SHOWN_PAUSE_MS) {
    await plane.wait(SHOWN_PAUSE_MS);
    const shown = await look().catch((error: unknown) => {
      if (error instanceof ProvisioningError && error.isPassing) return undefined;
      throw error;
    });
    if (shown) return shown;
  }
  return undefined;
}

/** Undefined where there is none. */
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

async function hasNothing(plane: ControlPlane, { ApiId }: FoundApi): Promise<boolean> {
  const { Items: routes = [] } = await plane.read(new GetRoutesCommand({ ApiId }));
  const { Items: stages = [] } = await plane.read(new GetStagesCommand({ ApiId }));
  return routes.length === 0 && stages.length === 0;
}

function ambiguous({ region }: ControlPlane, name: string, apis: readonly FoundApi[]): ConfigurationError {
  const ids = apis.map(({ ApiId }) => ApiId).join(" and ");
  return new ConfigurationError(
    `The APIs ${ids} in ${region} are all tagged as the gateway "${name}". Remove the tags ${GATEWAY_TAG} and ${RECORD_TAG} from those that are not, or delete them.`,
  );
}
