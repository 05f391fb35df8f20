/** The parts of a policy statement that are evaluated here. */
interface Statement {
  readonly isAllowing: boolean;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
}

/**
 * Evaluates whether an IAM policy allows an action on a resource. At least one statement must allow
 * it, and none can deny it.
 *
 * @returns undefined if the value is not a policy, or has a part that is not evaluated here, such
 *   as a condition
 */
export function isAllowed(policy: unknown, action: string, resource: string): boolean | undefined {
  const statements = statementsOf(policy);
  if (!statements) return undefined;
  const matching = statements.filter(
    ({ actions, resources }) =>
      // Actions are compared without case, and resources with case.
      actions.some((pattern) => matches(pattern.toLowerCase(), action.toLowerCase())) &&
      resources.some((pattern) => matches(pattern, resource)),
  );
  return matching.length > 0 && matching.every(({ isAllowing }) => isAllowing);
}

function statementsOf(policy: unknown): readonly Statement[] | undefined {
  const { Statement } = (policy ?? {}) as { readonly Statement?: unknown };
  if (typeof Statement !== "object" || Statement === null) return undefined;
  const all = (Array.isArray(Statement) ? Statement : [Statement]).map(statementOf);
  return all.every((statement) => statement !== undefined) ? all : undefined;
}

/** The supported parts. A statement with another part is not evaluated. */
const PARTS = new Set(["Sid", "Effect", "Action", "Resource"]);

function statementOf(statement: unknown): Statement | undefined {
  if (typeof statement !== "object" || statement === null) return undefined;
  if (Object.keys(statement).some((part) => !PARTS.has(part))) return undefined;
  const { Effect, Action, Resource } = statement as Readonly<Record<string, unknown>>;
  const [actions, resources] = [listOf(Action), listOf(Resource)];
  if (!actions || !resources || (Effect !== "Allow" && Effect !== "Deny")) return undefined;
  return { isAllowing: Effect === "Allow", actions, resources };
}

function listOf(value: unknown): readonly string[] | undefined {
  const all: readonly unknown[] = Array.isArray(value) ? value : [value];
  return all.every((text) => typeof text === "string") ? all : undefined;
}

/**
 * Matches a text against a pattern with the wildcards of IAM: `*` for any text, `?` for any
 * character.
 *
 * On a mismatch, only the last star is extended by one character. The running time is therefore at
 * most the product of both lengths.
 */
function matches(pattern: string, text: string): boolean {
  let [inPattern, inText] = [0, 0];
  let star: { readonly pattern: number; text: number } | undefined;
  while (inText < text.length) {
    if (pattern[inPattern] === "*") {
      star = { pattern: inPattern++, text: inText };
    } else if (pattern[inPattern] === "?" || pattern[inPattern] === text[inText]) {
      inPattern++;
      inText++;
    } else if (star) {
      inPattern = star.pattern + 1;
      inText = ++star.text;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(inPattern));
}
