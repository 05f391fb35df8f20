import { MAX_AGE_MS } from "../gateways/gateways.ts";
import { endpointOf, needsSecret } from "./desired.ts";
import { type Comparison, differences, type Hand, type Step } from "./plan.ts";

/** How long a deployment is old before the secret of the one before it is forgotten, in milliseconds: whatever was under way then has ended. */
const FORGET_AFTER_MS = 10 * 60_000;

/** When every process knows a change of the record, in milliseconds: those that run already know the gateways as they were a moment ago. */
const KNOWN_AFTER_MS = MAX_AGE_MS + 1000;

/**
 * Another secret is accepted when all integrations have it, which keep it, and before the deployment, which sends it: so none is lost,
 * and nothing is refused, wherever this ends.
 */
export function planAcceptance({ definition, accepted, record }: Comparison): readonly Step[] {
  // Of one that had none, nobody has been told yet.
  if (!record || record.secretHashes.length === 0) return [];
  if (accepted.join() === record.secretHashes.join()) return [];
  const accept: Step = {
    action: "change",
    what: "record in the database",
    details: ["accepts another secret, beside the present one"],
    run: async ({ gateways, plane }) => {
      await gateways.accept(definition.name, accepted);
      await plane.wait(KNOWN_AFTER_MS);
    },
  };
  return [accept];
}

/** Our record of the gateway: without it the app answers none of its calls. It comes before the deployment that makes the calls. */
export function planRecord({ definition, accepted, found, record }: Comparison): readonly Step[] {
  const { name, stage } = definition;
  // What is deployed does not hand answers over until the deployment: they are pushed so long.
  const replies = found && record?.replies === "push" ? "push" : definition.replies;
  const isPushed = found !== undefined && record?.replies === "route" && replies === "push";
  const apiId = found?.api.ApiId;
  const { details } = differences(record, {
    stage,
    replies,
    ...(apiId === undefined
      ? {}
      : { apiId, endpoint: endpointOf(definition, found?.api.ApiEndpoint ?? "", apiId) }),
  });
  const isFirst = record?.secretHashes.length === 0 && accepted.length > 0;
  if (apiId !== undefined && record && details.length === 0 && !isFirst) return [];
  const keep: Step = {
    action: record ? "change" : "create",
    what: "record in the database",
    details: record ? [...details, ...(isFirst ? ["accepts the gateway's secret"] : [])] : [],
    run: async (hand) => {
      await hand.gateways.register({
        name,
        apiId: hand.apiId,
        stage,
        replies,
        endpoint: endpointOf(definition, hand.apiEndpoint, hand.apiId),
        secretHashes: accepted,
      });
      // Every process pushes before nothing else hands answers over.
      if (isPushed) await hand.plane.wait(KNOWN_AFTER_MS);
    },
  };
  return [keep];
}

/** Answers are handed over by what is deployed, and pushed no more. */
export function planReplies({ definition, found, record }: Comparison): readonly Step[] {
  const { name, stage, replies } = definition;
  if (!found || record?.replies !== "push" || replies === "push") return [];
  const change: Step = {
    action: "change",
    what: "record in the database",
    details: ["replies: push → route"],
    run: async ({ gateways, apiId, apiEndpoint }) => {
      const endpoint = endpointOf(definition, apiEndpoint, apiId);
      await gateways.register({ name, apiId, stage, replies, endpoint });
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
    run: (hand: Hand) => hand.gateways.accept(name, kept),
  };
}
