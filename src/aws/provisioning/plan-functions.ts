import { callsArn } from "../names.ts";
import { accountOf, ownFunctionsOf } from "../targets.ts";
import type { Actual, ActualApi } from "./actual.ts";
import { permits } from "./function-policies.ts";
import type { Comparison, Step } from "./plan.ts";
import type { RunContext } from "./run-context.ts";

/**
 * Plans the permissions of this API to invoke its functions. The owner of a function in another
 * account adds that permission.
 */
export function planFunctions({ definition, actual, found }: Comparison): readonly Step[] {
  const desired = new Set(ownFunctionsOf(definition));
  return [...actual.statements].flatMap(([lambda, statements]) => {
    if (!desired.has(lambda)) return [];
    const source = (apiId: string) =>
      callsArn(definition.region, definition.account ?? accountOf({ lambda }), apiId);
    const sid = found && statementId(found.api.ApiId);
    const existing = statements.find(({ Sid }) => Sid === sid);
    if (found && existing && permits(existing, source(found.api.ApiId))) return [];
    const permit: Step = {
      action: existing ? "change" : "create",
      what: `permission to invoke ${lambda}`,
      details: [],
      run: async (context) => {
        // AWS has no operation that changes a statement.
        if (existing) await removePermission(context, lambda);
        const policies = await context.plane.functions();
        await policies.permit(lambda, statementId(context.apiId), source(context.apiId));
      },
    };
    return [permit];
  });
}

/**
 * Returns the ARNs of functions that the API is permitted to call and that are not targets any
 * more.
 */
export function formerFunctions(
  statements: Actual["statements"],
  desired: readonly string[],
  { api }: ActualApi,
): readonly string[] {
  const sid = statementId(api.ApiId);
  return [...statements.keys()].filter(
    (lambda) => !desired.includes(lambda) && statements.get(lambda)?.some(({ Sid }) => Sid === sid),
  );
}

/** Returns the step that removes the permission to invoke a function. */
export function removeInvokePermission(lambda: string): Step {
  return {
    action: "remove",
    what: `permission to invoke ${lambda}`,
    details: [],
    run: (context) => removePermission(context, lambda),
  };
}

async function removePermission({ plane, apiId }: RunContext, lambda: string): Promise<void> {
  await (await plane.functions()).forbid(lambda, statementId(apiId));
}

function statementId(apiId: string): string {
  return `sallyport-${apiId}`;
}
