import { ConfigurationError } from "../../errors.ts";
import type { Gateway } from "../../storage/stores/gateways.ts";
import { domainAddress } from "../definition-parts.ts";
import { endpointOf, needsSecret } from "./desired.ts";
import { type Comparison, differences, type Step } from "./plan.ts";
import { isBeingMade, isServing } from "./recorded.ts";
import type { RunContext } from "./run-context.ts";

/**
 * The age of a deployment at which the secret of the former one is removed, in milliseconds. All
 * calls of the former deployment have ended by then.
 */
const FORGET_AFTER_MS = 10 * 60_000;

/** Fields of the record that must not change before the deployment. */
interface DeploymentDependent {
  /** Answers are pushed until the deployment has route responses. */
  readonly replies: Gateway["replies"];
  /** The deployment can disable the endpoint of API Gateway. */
  readonly endpoint: string | undefined;
}

function fieldsBeforeDeployment({ definition, found, record }: Comparison): DeploymentDependent {
  const desiredEndpoint = found && endpointOf(definition, found.api, record);
  if (!found?.deployment || !record || isBeingMade(record))
    return { replies: definition.replies, endpoint: desiredEndpoint };
  const isKept = isServing(record) && !definition.disableExecuteApiEndpoint;
  return {
    replies: record.replies === "push" ? "push" : definition.replies,
    endpoint: isKept ? record.endpoint : desiredEndpoint,
  };
}

/**
 * Checks that the endpoint for sends is not a domain that this run creates, because it has no DNS
 * record yet.
 *
 * @throws ConfigurationError if it is
 */
function checkDomainExists(
  { definition, actual, found, record }: Comparison,
  endpoint: string | undefined,
): void {
  const { name, disableExecuteApiEndpoint, domains } = definition;
  if (!disableExecuteApiEndpoint || !found?.deployment || !isServing(record) || endpoint === record.endpoint)
    return;
  const chosen = domains.find((domain) => `https://${domainAddress(domain)}` === endpoint);
  if (actual.domains.some(({ DomainName }) => DomainName === chosen?.name)) return;
  throw new ConfigurationError(
    `Gateway "${name}" can be reached only through ${chosen?.name}, which does not exist yet. First apply that domain in addition to the current address, and create its DNS record. Then apply this definition.`,
  );
}

/**
 * Plans the record of the gateway in the database. Without it, the app denies all calls.
 *
 * The record changes before the deployment that makes the calls. A new secret is accepted after all
 * integrations have stored it, and before the deployment sends it. An interruption at any point
 * therefore loses no secret and denies no call.
 */
export function planRecord(comparison: Comparison): readonly Step[] {
  const { definition, accepted, found, record } = comparison;
  const { name, stage } = definition;
  const { replies, endpoint } = fieldsBeforeDeployment(comparison);
  const apiId = found?.api.ApiId;
  const { details } = differences(record, {
    stage,
    replies,
    ...(apiId === undefined ? {} : { apiId, endpoint }),
  });
  checkDomainExists(comparison, endpoint);
  const isOtherSecret = record !== undefined && accepted.join() !== record.secretHashes.join();
  if (apiId !== undefined && record && details.length === 0 && !isOtherSecret) return [];
  const keep: Step = {
    action: record ? "change" : "create",
    what: "record in the database",
    details: record ? [...details, ...(isOtherSecret ? [secretChange(record)] : [])] : [],
    run: async (context) => {
      const { gateways, apiId, apiEndpoint } = context;
      await gateways.register({
        name,
        apiId,
        stage,
        replies,
        endpoint: endpoint ?? endpointOf(definition, { ApiId: apiId, ApiEndpoint: apiEndpoint }, undefined),
        secretHashes: accepted,
      });
      context.markRecorded();
    },
  };
  return [keep];
}

function secretChange({ secretHashes }: Gateway): string {
  return secretHashes.length === 0
    ? "accepts the secret of the gateway"
    : "accepts another secret, in addition to the current one";
}

/** Plans the changes of the record that require the new deployment to be served everywhere. */
export function planRecordAfterwards(comparison: Comparison): readonly Step[] {
  const { definition, found, record } = comparison;
  if (!found?.deployment || !record || isBeingMade(record)) return [];
  const { name, stage, replies } = definition;
  const endpoint = endpointOf(definition, found.api, record);
  const { details } = differences(fieldsBeforeDeployment(comparison), { replies, endpoint });
  if (details.length === 0) return [];
  const change: Step = {
    action: "change",
    what: "record in the database",
    details,
    run: async (context) => {
      await context.gateways.register({ name, apiId: context.apiId, stage, replies, endpoint });
      context.markRecorded();
    },
  };
  return [change];
}

/** Plans the removal of the former secret when no call can use it any more. */
export function planSecretRemoval({ definition, accepted, found, now }: Comparison): readonly Step[] {
  const kept = needsSecret(definition) ? accepted.slice(0, 1) : [];
  const deployedAt = found?.deployment?.CreatedDate?.getTime();
  if (accepted.length === kept.length) return [];
  if (deployedAt === undefined || now - deployedAt < FORGET_AFTER_MS) return [];
  return [removeSecretsStep(definition.name, kept)];
}

/** Returns the step that removes all secrets from the record except the given hashes. */
export function removeSecretsStep(name: string, kept: readonly string[]): Step {
  return {
    action: "remove",
    what: "the former secret from the record in the database",
    details: [],
    run: (context: RunContext) => context.gateways.accept(name, kept),
  };
}
