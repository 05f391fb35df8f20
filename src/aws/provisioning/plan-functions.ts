import { callsArn } from "../arns.ts";
import { accountOf, ownFunctionsOf } from "../targets.ts";
import type { Actual, ActualApi } from "./actual.ts";
import { permits } from "./function-policies.ts";
import type { Comparison, Step } from "./plan.ts";
import type { RunContext } from "./run-context.ts";

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

/** Functions that we let an API call and that are wanted no more, by ARN. */
export function formerFunctions(
  statements: Actual["statements"],
  wanted: readonly string[],
  { api }: ActualApi,
): readonly string[] {
  const sid = statementId(api.ApiId);
  return [...statements.keys()].filter(
    (lambda) => !wanted.includes(lambda) && statements.get(lambda)?.some(({ Sid }) => Sid === sid),
  );
}

/** Takes the permission to call a function away. */
export function forbid(lambda: string): Step {
  return {
    action: "remove",
    what: `permission to invoke ${lambda}`,
    details: [],
    run: (hand) => removePermission(hand, lambda),
  };
}

async function removePermission({ plane, apiId }: RunContext, lambda: string): Promise<void> {
  await (await plane.functions()).forbid(lambda, statementId(apiId));
}

function statementId(apiId: string): string {
  return `sallyport-${apiId}`;
}
