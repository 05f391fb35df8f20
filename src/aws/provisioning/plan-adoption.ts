import { GetApiCommand, GetStagesCommand, TagResourceCommand } from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../../errors.ts";
import type { Gateway } from "../../storage/stores/gateways.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { GATEWAY_TAG, gatewayArn, RECORD_TAG } from "../names.ts";
import type { ControlPlane } from "./control-plane.ts";
import { endpointOf } from "./desired.ts";
import { belongsToRecord, listApis, recordedApi, rejectStackApi } from "./find-api.ts";
import type { Step } from "./plan.ts";
import { isServing } from "./recorded.ts";

/**
 * Plans the import of an existing API. The record receives its id, and the API receives the tags.
 * Nothing else changes.
 *
 * @param apiId AWS's id of the API
 * @throws ConfigurationError if the API is not a WebSocket API or belongs to another gateway or to
 *   a stack, or if this gateway already has another API
 */
export async function planAdoption(
  plane: ControlPlane,
  definition: GatewayDefinition,
  record: Gateway | undefined,
  apiId: string,
): Promise<readonly Step[]> {
  const { name, region, stage } = definition;
  // A new API is missing from the list for a time, so the record is read first.
  const current =
    (await recordedApi(plane, record)) ?? (await listApis(plane)).find((api) => belongsToRecord(api, record));
  if (current && belongsToRecord(current, record) && current.ApiId !== apiId)
    throw new ConfigurationError(
      `Gateway "${name}" already has the API ${current.ApiId}, and can have only one. Run gateway release first, or import the API for another gateway.`,
    );
  const api = await plane.read(new GetApiCommand({ ApiId: apiId }));
  if (api.ProtocolType !== "WEBSOCKET")
    throw new ConfigurationError(
      `The API ${apiId} has the protocol ${api.ProtocolType}, but a gateway needs a WebSocket API. Use the id of a WebSocket API.`,
    );
  const other = api.Tags?.[GATEWAY_TAG];
  if (other !== undefined && other !== name)
    throw new ConfigurationError(
      `The API ${apiId} already belongs to the gateway "${other}". Run gateway release for that gateway first, or import another API.`,
    );
  rejectStackApi(api);
  const stages = await plane.list((NextToken) =>
    plane.read(new GetStagesCommand({ ApiId: apiId, NextToken })),
  );
  const names = stages.map(({ StageName = "" }) => StageName);
  const kept = keptRegistration(definition, record, apiId);
  if (names.length > 0 && !names.includes(stage))
    throw new ConfigurationError(
      `The API ${apiId} has no stage "${stage}" (it has: ${names.join(", ")}). Define the gateway with the stage that has its connections.`,
    );
  const note: Step = {
    action: record ? "change" : "create",
    what: "record in the database",
    details: [`apiId: ${apiId}`],
    run: async (context) => {
      const fresh = { endpoint: endpointOf(definition, api, undefined), replies: "push" } as const;
      const { endpoint, replies } = kept ?? fresh;
      const { id } = await context.gateways.register({ name, apiId, stage, replies, endpoint });
      context.recordId = id;
    },
  };
  const tag: Step = {
    action: "change",
    what: `tags of the API ${apiId} "${api.Name}"`,
    details: [
      ...(other === name ? [] : [`${GATEWAY_TAG}: nothing → ${name}`]),
      ...(api.Tags?.[RECORD_TAG] === undefined ? [] : [`${RECORD_TAG}: another database's → this one's`]),
    ],
    run: async ({ plane, recordId }) => {
      const ResourceArn = gatewayArn(region, `apis/${apiId}`);
      const Tags = { [GATEWAY_TAG]: name, [RECORD_TAG]: recordId };
      await plane.write(new TagResourceCommand({ ResourceArn, Tags }));
    },
  };
  const isTagged = other === name && api.Tags?.[RECORD_TAG] === record?.id;
  return [...(record?.apiId === apiId ? [] : [note]), ...(isTagged ? [] : [tag])];
}

/**
 * Returns the record of an API that the app registered, because open connections depend on its
 * values.
 *
 * @returns undefined if the API was not registered. Answers are then pushed until a deployment with
 *   route responses is known.
 * @throws ConfigurationError if the record belongs to another API or stage
 */
function keptRegistration(
  { name, stage }: GatewayDefinition,
  record: Gateway | undefined,
  apiId: string,
): Gateway | undefined {
  if (!isServing(record) || (record.apiId !== null && record.apiId !== apiId)) return undefined;
  const [, id] = /^https:\/\/([a-z0-9]+)\.execute-api\./.exec(record.endpoint) ?? [];
  if (id !== undefined && id !== apiId)
    throw new ConfigurationError(
      `Gateway "${name}" is registered with ${record.endpoint}, which is the API ${id}. Import that API, or register the gateway again with the new endpoint.`,
    );
  if (record.stage === stage) return record;
  throw new ConfigurationError(
    id === undefined
      ? `Gateway "${name}" is registered with ${record.endpoint} and the stage "${record.stage}", but defined with "${stage}". If its connections are at ${stage}, register it again with stage: "${stage}".`
      : `Gateway "${name}" is registered with the stage ${record.stage}, but defined with ${stage}. Its connections belong to the registered stage. Define it with stage: "${record.stage}".`,
  );
}
