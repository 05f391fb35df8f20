import { GetApiCommand, GetStagesCommand, TagResourceCommand } from "@aws-sdk/client-apigatewayv2";
import type { Gateway } from "../../auth/gateways.ts";
import { ConfigurationError } from "../../errors.ts";
import { gatewayArn } from "../arns.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { GATEWAY_TAG, RECORD_TAG } from "../tags.ts";
import type { ControlPlane } from "./control-plane.ts";
import { endpointOf } from "./desired.ts";
import { isOurs, listApis, recordedApi, refuseStack } from "./find-api.ts";
import type { Step } from "./plan.ts";
import { isServing } from "./recorded.ts";

/**
 * An API that is there already becomes a gateway's: our record names it, and it gets our tags. Nothing else changes.
 *
 * @throws ConfigurationError for an API that is not a WebSocket API or is another gateway's, or where this gateway has one
 */
export async function planAdoption(
  plane: ControlPlane,
  definition: GatewayDefinition,
  record: Gateway | undefined,
  apiId: string,
): Promise<readonly Step[]> {
  const { name, region, stage } = definition;
  // A list shows what was made only after a while.
  const has =
    (await recordedApi(plane, record)) ?? (await listApis(plane)).find((api) => isOurs(api, record));
  if (has && isOurs(has, record) && has.ApiId !== apiId)
    throw new ConfigurationError(`Gateway "${name}" has the API ${has.ApiId} already.`);
  const api = await plane.read(new GetApiCommand({ ApiId: apiId }));
  if (api.ProtocolType !== "WEBSOCKET")
    throw new ConfigurationError(`The API ${apiId} is a ${api.ProtocolType} API, not one for WebSockets.`);
  const other = api.Tags?.[GATEWAY_TAG];
  if (other !== undefined && other !== name)
    throw new ConfigurationError(`The API ${apiId} is the gateway "${other}".`);
  refuseStack(api);
  const stages = await plane.list((NextToken) =>
    plane.read(new GetStagesCommand({ ApiId: apiId, NextToken })),
  );
  const names = stages.map(({ StageName = "" }) => StageName);
  const kept = keptRegistration(definition, record, apiId);
  if (names.length > 0 && !names.includes(stage))
    throw new ConfigurationError(
      `The API ${apiId} has no stage "${stage}" (it has: ${names.join(", ")}). Define the gateway with the stage at which its sockets are.`,
    );
  const note: Step = {
    action: record ? "change" : "create",
    what: "record in the database",
    details: [`apiId: ${apiId}`],
    run: async (hand) => {
      const fresh = { endpoint: endpointOf(definition, api, undefined), replies: "push" } as const;
      const { endpoint, replies } = kept ?? fresh;
      const { id } = await hand.gateways.register({ name, apiId, stage, replies, endpoint });
      hand.recordId = id;
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
 * What is registered by hand of an API stays: sockets rest on it. Of one that is registered nowhere, answers are pushed until what is
 * deployed is known to hand them over.
 *
 * @throws ConfigurationError where it is another API, or at another stage, than is to be imported
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
      `Gateway "${name}" is registered with ${record.endpoint}, which is the API ${id}. Import that one, or register the gateway anew.`,
    );
  if (record.stage === stage) return record;
  throw new ConfigurationError(
    id === undefined
      ? `Gateway "${name}" is registered with ${record.endpoint} and the stage "${record.stage}". If its sockets are at ${stage}, register it again with stage: "${stage}".`
      : `Gateway "${name}" is registered with the stage ${record.stage}, and defined with ${stage}. Its sockets are there: write stage: "${record.stage}".`,
  );
}
