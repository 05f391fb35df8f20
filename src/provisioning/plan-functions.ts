import { callsArn } from "../gateways/arns.ts";
import { accountOf, functionsOf, ownFunctionsOf } from "../gateways/targets.ts";
import { permits } from "./function-policies.ts";
import type { Hand } from "./hand.ts";
import type { Comparison, Step } from "./plan.ts";

/** API Gateway may invoke each function, for this API alone. Those of another account are their owner's to let it. */
export function planFunctions({ definition, actual, found }: Comparison): readonly Step[] {
  const wanted = new Set(ownFunctionsOf(definition));
  return [...actual.statements].flatMap(([lambda, statements]) => {
    if (!wanted.has(lambda)) return [];
    const source = (apiId: string) =>
      callsArn(definition.region, definition.account ?? accountOf({ lambda }), apiId);
    const sid = found && statementId(found.api.ApiId);
    const there = statements.find(({ Sid }) => Sid === sid);
    if (found && there && permits(there, source(found.api.ApiId))) return [];
    const permit: Step = {
      action: there ? "change" : "create",
      what: `permission to invoke ${lambda}`,
      details: [],
      run: async (hand) => {
        // A statement cannot be changed.
        if (there) await removePermission(hand, lambda);
        const policies = await hand.plane.functions();
        await policies.permit(lambda, statementId(hand.apiId), source(hand.apiId));
      },
    };
    return [permit];
  });
}

/** Functions that are called no more need not be callable: once nothing that is deployed calls them. */
export function planForbidden({ definition, actual, found }: Comparison): readonly Step[] {
  const wanted = new Set(functionsOf(definition));
  const sid = found && statementId(found.api.ApiId);
  // Another stage may still call it.
  if ((found?.stages.size ?? 0) > 1) return [];
  return [...actual.statements].flatMap(([lambda, statements]) => {
    if (wanted.has(lambda) || !statements.some(({ Sid }) => Sid === sid)) return [];
    const forbid: Step = {
      action: "remove",
      what: `permission to invoke ${lambda}`,
      details: [],
      run: (hand) => removePermission(hand, lambda),
    };
    return [forbid];
  });
}

export async function removePermission({ plane, apiId }: Hand, lambda: string): Promise<void> {
  await (await plane.functions()).forbid(lambda, statementId(apiId));
}

export function statementId(apiId: string): string {
  return `sallyport-${apiId}`;
}
