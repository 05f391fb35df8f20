import { accountOf, partitionOf } from "./definition.ts";
import type { Comparison, Hand, Step } from "./plan.ts";

/** API Gateway may invoke each function, for this API alone. */
export function planFunctions({ definition, actual, found }: Comparison): readonly Step[] {
  return [...actual.statements].flatMap(([lambda, statements]) => {
    const source = (apiId: string) =>
      `arn:${partitionOf(definition.region)}:execute-api:${definition.region}:${accountOf({ lambda })}:${apiId}/*`;
    const sid = found && statementId(found.api.ApiId);
    const there = statements.find(({ Sid }) => Sid === sid);
    if (found && there?.Condition?.ArnLike?.["AWS:SourceArn"] === source(found.api.ApiId)) return [];
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

export async function removePermission({ plane, apiId }: Hand, lambda: string): Promise<void> {
  await (await plane.functions()).forbid(lambda, statementId(apiId));
}

export function statementId(apiId: string): string {
  return `sallyport-${apiId}`;
}
