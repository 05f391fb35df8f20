import { DeleteApiCommand, UntagResourceCommand } from "@aws-sdk/client-apigatewayv2";
import { GATEWAY_TAG, RECORD_TAG } from "../gateways/definition.ts";
import { gatewayArn } from "./arns.ts";
import type { Comparison, Step } from "./plan.ts";
import { removeTwin } from "./plan-api.ts";
import { removeDomain, removeMapping, unusedDomains } from "./plan-domain.ts";
import { removePermission, statementId } from "./plan-functions.ts";

/** All that `apply` makes, in the order in which AWS lets it go: what leads to the API first, our record last. */
export function planDestruction(comparison: Comparison): readonly Step[] {
  const { definition, actual, found, record } = comparison;
  const mappings = found?.mappings ?? [];
  const steps: Step[] = [
    ...mappings.map(removeMapping),
    ...unusedDomains(comparison, new Set(mappings)).map(removeDomain),
  ];
  if (found) {
    const sid = statementId(found.api.ApiId);
    for (const [lambda, statements] of actual.statements) {
      if (!statements.some(({ Sid }) => Sid === sid)) continue;
      steps.push({
        action: "remove",
        what: `permission to invoke ${lambda}`,
        details: [],
        run: (hand) => removePermission(hand, lambda),
      });
    }
    steps.push({
      action: "remove",
      what: `API "${found.api.Name}"`,
      details: [found.api.ApiId, ...[...found.stages.keys()].map((stage) => `with its stage ${stage}`)],
      run: async ({ plane, apiId }) => {
        await plane.write(new DeleteApiCommand({ ApiId: apiId }));
      },
    });
  }
  steps.push(...actual.twins.map(removeTwin));
  return record ? [...steps, removeRecord(definition.name)] : steps;
}

/** Our tags and our record alone: what is at AWS serves whoever takes it over. */
export function planRelease({ definition, found, record }: Comparison): readonly Step[] {
  const tags = [GATEWAY_TAG, RECORD_TAG].filter((tag) => found?.api.Tags?.[tag] !== undefined);
  const untag: Step = {
    action: "change",
    what: "tags of the API",
    details: tags.map((tag) => `${tag}: ${found?.api.Tags?.[tag]} → nothing`),
    run: async ({ plane, apiId }) => {
      const ResourceArn = gatewayArn(plane.region, `apis/${apiId}`);
      await plane.write(new UntagResourceCommand({ ResourceArn, TagKeys: tags }));
    },
  };
  return [...(tags.length > 0 ? [untag] : []), ...(record ? [removeRecord(definition.name)] : [])];
}

function removeRecord(name: string): Step {
  return {
    action: "remove",
    what: "record in the database, with the rows of its sockets",
    details: [],
    run: async ({ gateways }) => {
      await gateways.remove(name);
    },
  };
}
