import type { Gateway } from "../../auth/gateways.ts";
import { ConfigurationError } from "../../errors.ts";
import { domainAddress } from "../definition-parts.ts";
import { endpointOf, needsSecret } from "./desired.ts";
import { type Comparison, differences, type Step } from "./plan.ts";
import { isBeingMade, isServing } from "./recorded.ts";
import type { RunContext } from "./run-context.ts";

/** How long a deployment is old before the secret of the one before it is forgotten, in milliseconds: whatever was under way then has ended. */
const FORGET_AFTER_MS = 10 * 60_000;

/** What of our record follows the deployment, and is as it was until then. */
interface Followed {
  /** Answers are pushed until what is deployed hands them over. */
  readonly replies: Gateway["replies"];
  /** API Gateway's own address may be switched off in what is deployed. */
  readonly endpoint: string | undefined;
}

function followed({ definition, found, record }: Comparison): Followed {
  const wanted = found && endpointOf(definition, found.api, record);
  if (!found?.deployment || !record || isBeingMade(record))
    return { replies: definition.replies, endpoint: wanted };
  const isKept = isServing(record) && !definition.disableExecuteApiEndpoint;
  return {
    replies: record.replies === "push" ? "push" : definition.replies,
    endpoint: isKept ? record.endpoint : wanted,
  };
}

/** A domain that is only being made is in nobody's DNS yet. @throws ConfigurationError where sends would go there */
function refuseUnknownDomain(
  { definition, actual, found, record }: Comparison,
  endpoint: string | undefined,
): void {
  const { name, disableExecuteApiEndpoint, domains } = definition;
  if (!disableExecuteApiEndpoint || !found?.deployment || !isServing(record) || endpoint === record.endpoint)
    return;
  const chosen = domains.find((domain) => `https://${domainAddress(domain)}` === endpoint);
  if (actual.domains.some(({ DomainName }) => DomainName === chosen?.name)) return;
  throw new ConfigurationError(
    `Gateway "${name}" is to be reached by ${chosen?.name} alone, which is not there yet. Apply it beside what there is, put it into DNS, and apply this then.`,
  );
}

/**
 * Our record of the gateway: without it the app answers none of its calls. It comes before the deployment that makes the calls. Another secret
 * is accepted when all integrations have it, which keep it, and before the deployment, which sends it: so none is lost, and nothing
 * is refused, wherever this ends.
 */
export function planRecord(comparison: Comparison): readonly Step[] {
  const { definition, accepted, found, record } = comparison;
  const { name, stage } = definition;
  const { replies, endpoint } = followed(comparison);
  const apiId = found?.api.ApiId;
  const { details } = differences(record, {
    stage,
    replies,
    ...(apiId === undefined ? {} : { apiId, endpoint }),
  });
  refuseUnknownDomain(comparison, endpoint);
  const isOther = record !== undefined && accepted.join() !== record.secretHashes.join();
  if (apiId !== undefined && record && details.length === 0 && !isOther) return [];
  const keep: Step = {
    action: record ? "change" : "create",
    what: "record in the database",
    details: record ? [...details, ...(isOther ? [acceptance(record)] : [])] : [],
    run: async (hand) => {
      const { gateways, apiId, apiEndpoint } = hand;
      await gateways.register({
        name,
        apiId,
        stage,
        replies,
        endpoint: endpoint ?? endpointOf(definition, { ApiId: apiId, ApiEndpoint: apiEndpoint }, undefined),
        secretHashes: accepted,
      });
      hand.recorded();
    },
  };
  return [keep];
}

function acceptance({ secretHashes }: Gateway): string {
  return secretHashes.length === 0
    ? "accepts the gateway's secret"
    : "accepts another secret, beside the present one";
}

/** The rest of it, once what is deployed is so everywhere. */
export function planRecordAfterwards(comparison: Comparison): readonly Step[] {
  const { definition, found, record } = comparison;
  if (!found?.deployment || !record || isBeingMade(record)) return [];
  const { name, stage, replies } = definition;
  const endpoint = endpointOf(definition, found.api, record);
  const { details } = differences(followed(comparison), { replies, endpoint });
  if (details.length === 0) return [];
  const change: Step = {
    action: "change",
    what: "record in the database",
    details,
    run: async (hand) => {
      await hand.gateways.register({ name, apiId: hand.apiId, stage, replies, endpoint });
      hand.recorded();
    },
  };
  return [change];
}

/** The secret before the present one is accepted no more, once nothing can come with it. */
export function planForgetting({ definition, accepted, found, now }: Comparison): readonly Step[] {
  const kept = needsSecret(definition) ? accepted.slice(0, 1) : [];
  const deployedAt = found?.deployment?.CreatedDate?.getTime();
  if (accepted.length === kept.length) return [];
  if (deployedAt === undefined || now - deployedAt < FORGET_AFTER_MS) return [];
  return [forgetStep(definition.name, kept)];
}

export function forgetStep(name: string, kept: readonly string[]): Step {
  return {
    action: "remove",
    what: "the former secret from the record in the database",
    details: [],
    run: (hand: RunContext) => hand.gateways.accept(name, kept),
  };
}
