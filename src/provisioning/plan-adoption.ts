import {
  GetApiCommand,
  GetRouteResponsesCommand,
  GetRoutesCommand,
  TagResourceCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../errors.ts";
import { GATEWAY_TAG, type GatewayDefinition, RECORD_TAG } from "../gateways/definition.ts";
import type { Gateway } from "../gateways/gateways.ts";
import { gatewayArn } from "./arns.ts";
import type { ControlPlane } from "./control-plane.ts";
import { endpointOf } from "./desired.ts";
import { isOurs, listApis, refuseStack } from "./find-api.ts";
import type { Step } from "./plan.ts";

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
  const has = (await listApis(plane)).find((api) => isOurs(api, record));
  if (has && has.ApiId !== apiId)
    throw new ConfigurationError(`Gateway "${name}" has the API ${has.ApiId} already.`);
  const api = await plane.read(new GetApiCommand({ ApiId: apiId }));
  if (api.ProtocolType !== "WEBSOCKET")
    throw new ConfigurationError(`The API ${apiId} is a ${api.ProtocolType} API, not one for WebSockets.`);
  const other = api.Tags?.[GATEWAY_TAG];
  if (other !== undefined && other !== name)
    throw new ConfigurationError(`The API ${apiId} is the gateway "${other}".`);
  refuseStack(api);
  // What its sockets rest on, until it is changed.
  const replies = (await isAnswered(plane, apiId)) ? "route" : "push";
  const note: Step = {
    action: record ? "change" : "create",
    what: "record in the database",
    details: [`apiId: ${apiId}`],
    run: async (hand) => {
      const endpoint = endpointOf(definition, api.ApiEndpoint ?? "", apiId);
      const { id } = await hand.gateways.register({ name, apiId, stage, replies, endpoint });
      hand.recordId = id;
    },
  };
  const tag: Step = {
    action: "change",
    what: `tags of the API ${apiId} "${api.Name}"`,
    details: [`${GATEWAY_TAG}: ${other ?? "nothing"} → ${name}`],
    run: async ({ plane, recordId }) => {
      const ResourceArn = gatewayArn(region, `apis/${apiId}`);
      const Tags = { [GATEWAY_TAG]: name, [RECORD_TAG]: recordId };
      await plane.write(new TagResourceCommand({ ResourceArn, Tags }));
    },
  };
  const isTagged = other === name && api.Tags?.[RECORD_TAG] === record?.id;
  return [...(record?.apiId === apiId ? [] : [note]), ...(isTagged ? [] : [tag])];
}

/** Whether what the backend answers to a message reaches the socket. */
async function isAnswered(plane: ControlPlane, ApiId: string): Promise<boolean> {
  const routes = await plane.list((NextToken) => plane.read(new GetRoutesCommand({ ApiId, NextToken })));
  const fallback = routes.find(({ RouteKey }) => RouteKey === "$default");
  if (fallback?.RouteId === undefined || fallback.RouteResponseSelectionExpression === undefined)
    return false;
  const { Items = [] } = await plane.read(new GetRouteResponsesCommand({ ApiId, RouteId: fallback.RouteId }));
  return Items.length > 0;
}
