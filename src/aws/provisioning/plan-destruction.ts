import { DeleteApiCommand, UntagResourceCommand } from "@aws-sdk/client-apigatewayv2";
import type { Gateway } from "../../storage/stores/gateways.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { DOMAIN_TAG, gatewayArn, TAG_PREFIX } from "../names.ts";
import { belongsToRecord, isStackApi } from "./find-api.ts";
import type { Comparison, Step } from "./plan.ts";
import { removeDuplicate } from "./plan-api.ts";
import { removeDomain, removeMapping, unusedDomains } from "./plan-domain.ts";
import { formerFunctions, removeInvokePermission } from "./plan-functions.ts";
import { isBeingRemoved, removingEndpoint } from "./recorded.ts";

/**
 * Plans the removal of everything that `apply` creates, in the order that AWS requires. Mappings to
 * the API are removed first, and the record last.
 */
export function planDestruction(comparison: Comparison): readonly Step[] {
  const { definition, actual, found, record } = comparison;
  const mappings = found?.mappings ?? [];
  const steps: Step[] = [
    ...mappings.map(removeMapping),
    ...unusedDomains(comparison, new Set(mappings)).map(removeDomain),
  ];
  if (found) {
    steps.push(...formerFunctions(actual.statements, [], found).map(removeInvokePermission));
    if (record && !isBeingRemoved(record)) steps.push(noteRemoval(definition, record));
    steps.push({
      action: "remove",
      what: `API "${found.api.Name}"`,
      details: [found.api.ApiId, ...[...found.stages.keys()].map((stage) => `with its stage ${stage}`)],
      run: async ({ plane, apiId }) => {
        await plane.write(new DeleteApiCommand({ ApiId: apiId }));
      },
    });
  }
  steps.push(...actual.duplicates.map(removeDuplicate));
  return record ? [...steps, removeRecord(definition.name)] : steps;
}

/**
 * Returns the step that marks the record before the API is removed. A missing API is then known to
 * be deleted, and not to be in another account.
 */
function noteRemoval({ name, region }: GatewayDefinition, { stage, replies, apiId }: Gateway): Step {
  return {
    action: "change",
    what: "note in the database that the API is being removed",
    details: [],
    run: async ({ gateways }) => {
      const endpoint = removingEndpoint(region);
      await gateways.register({ name, stage, replies, endpoint, ...(apiId ? { apiId } : {}) });
    },
  };
}

/**
 * Plans the removal of the tags and of the record. The API itself continues to work. The tags of an
 * API that a CloudFormation stack has taken over do not change.
 */
export function planRelease(comparison: Comparison): readonly Step[] {
  const { definition, actual, found, record } = comparison;
  const steps: Step[] = [];
  if (found && belongsToRecord(found.api, record) && !isStackApi(found.api)) {
    const api = `apis/${found.api.ApiId}`;
    steps.push(...untag("API", api, found.api.Tags));
    for (const [name, { Tags }] of found.stages)
      steps.push(...untag(`stage ${name}`, `${api}/stages/${name}`, Tags));
    for (const { DomainName, Tags } of actual.domains) {
      if (Tags?.[DOMAIN_TAG] === record?.id)
        steps.push(...untag(`domain ${DomainName}`, `domainnames/${DomainName}`, Tags));
    }
  }
  return record ? [...steps, removeRecord(definition.name)] : steps;
}

function untag(what: string, path: string, tags: Readonly<Record<string, string>> = {}): readonly Step[] {
  const ours = Object.keys(tags).filter((tag) => tag.startsWith(TAG_PREFIX));
  if (ours.length === 0) return [];
  const step: Step = {
    action: "change",
    what: `tags of the ${what}`,
    details: ours.map((tag) => `${tag}: ${tags[tag]} → nothing`),
    run: async ({ plane }) => {
      const ResourceArn = gatewayArn(plane.region, path);
      await plane.write(new UntagResourceCommand({ ResourceArn, TagKeys: ours }));
    },
  };
  return [step];
}

function removeRecord(name: string): Step {
  return {
    action: "remove",
    what: "record in the database, with the rows of its connections",
    details: [],
    run: async ({ gateways }) => {
      await gateways.remove(name);
    },
  };
}
