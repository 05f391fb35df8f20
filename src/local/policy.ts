/** A policy's statement, as far as it is judged here. */
interface Statement {
  readonly isAllowing: boolean;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
}

/**
 * Whether an IAM policy allows an action on a resource: by one statement at least, and none denies it.
 *
 * @returns undefined for what is no policy, or has a part that is not judged here, such as a condition
 */
export function isAllowed(policy: unknown, action: string, resource: string): boolean | undefined {
  const statements = statementsOf(policy);
  if (!statements) return undefined;
  const meant = statements.filter(
    ({ actions, resources }) =>
      // Unlike resources, actions are one whatever their case.
      actions.some((pattern) => matches(pattern.toLowerCase(), action.toLowerCase())) &&
      resources.some((pattern) => matches(pattern, resource)),
  );
  return meant.length > 0 && meant.every(({ isAllowing }) => isAllowing);
}

function statementsOf(policy: unknown): readonly Statement[] | undefined {
  const { Statement } = (policy ?? {}) as { readonly Statement?: unknown };
  if (typeof Statement !== "object" || Statement === null) return undefined;
  const all = (Array.isArray(Statement) ? Statement : [Statement]).map(statementOf);
  return all.every((statement) => statement !== undefined) ? all : undefined;
}

/** What is left out counts for nothing, so a statement that says more is none. */
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
 * By IAM's wildcards: `*` is any text, `?` any character. A star that turns out to have taken too little takes one character more, and those
 * before it stay as they are, so that no pattern takes longer than its length times the text's.
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
