import { type Api, GetApisCommand, GetRoutesCommand, GetStagesCommand } from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../errors.ts";
import { GATEWAY_TAG, RECORD_TAG } from "../gateways/definition.ts";
import type { Gateway } from "../gateways/gateways.ts";
import type { ControlPlane } from "./control-plane.ts";

export type FoundApi = Api & { readonly ApiId: string };

/** Which APIs are a gateway's. */
export interface Identified {
  /** Undefined where there is none. It is another database's where `isOurs` says so. */
  readonly api: FoundApi | undefined;
  /** Ids of further ones with nothing in them: made by a call whose outcome AWS had not told, nor shown when it was asked. */
  readonly twins: readonly string[];
}

/** Whether an API is what our record is of: by its id, or made for it. A name alone may be another database's. */
export function isOurs({ ApiId, Tags }: Api, record: Gateway | undefined): boolean {
  return record !== undefined && (ApiId === record.apiId || Tags?.[RECORD_TAG] === record.id);
}

/** @throws ConfigurationError for an API of a stack */
export function refuseStack({ ApiId, Tags = {} }: Pick<Api, "ApiId" | "Tags">): void {
  if (!Object.keys(Tags).some((name) => name.startsWith("aws:cloudformation:"))) return;
  throw new ConfigurationError(
    `The API ${ApiId} belongs to a stack of CloudFormation, which would undo what is done here.`,
  );
}

/** Every API there is in the region. @throws ControlPlaneError */
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
  const apis = await listApis(plane);
  const ours = apis.filter((api) => isOurs(api, record));
  const named = apis.filter((api) => !ours.includes(api) && api.Tags?.[GATEWAY_TAG] === name);
  // One that says whose it is, is not ours.
  const doubtful = named.filter(({ Tags }) => ours.length === 0 || Tags?.[RECORD_TAG] === undefined);
  const [first, ...others] = [...ours, ...doubtful];
  if (others.length === 0) return { api: first, twins: [] };
  if (doubtful.length > 0) throw ambiguous(plane, name, [...ours, ...doubtful]);
  const isEmpty = new Map<FoundApi, boolean>();
  for (const api of ours) isEmpty.set(api, await hasNothing(plane, api));
  const byAge = [...ours].sort((one, other) => ageOf(one) - ageOf(other));
  const kept =
    ours.find(({ ApiId }) => ApiId === record?.apiId) ?? ours.find((api) => !isEmpty.get(api)) ?? byAge[0];
  const twins = ours.filter((api) => api !== kept);
  if (!twins.every((api) => isEmpty.get(api))) throw ambiguous(plane, name, ours);
  return { api: kept, twins: twins.map(({ ApiId }) => ApiId) };
}

function ageOf({ CreatedDate }: Api): number {
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
    `The APIs ${ids} in ${region} are all tagged as the gateway "${name}". Remove the tag ${GATEWAY_TAG} from those that are not, or delete them.`,
  );
}
