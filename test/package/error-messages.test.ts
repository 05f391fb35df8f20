import { readdirSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const src = join(root, "src");

/** Stands for a value that is only known at run time. */
const VALUE = "‹value›";

/** Maximum number of texts that one message can have. Conditions inside a message multiply them. */
const MAX_TEXTS = 256;

/** How many variables, functions and callers are followed to find the text of a message. */
const MAX_DEPTH = 12;

const files = readdirSync(src, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
  .map((file) => join(src, file));

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  allowImportingTsExtensions: true,
  noEmit: true,
  noLib: true,
  types: [],
};
const program = ts.createProgram(files, options, {
  ...ts.createCompilerHost(options),
  // Packages contain no messages of this project, and reading their types takes seconds.
  resolveModuleNameLiterals: (literals, from) =>
    literals.map(({ text }) => ({
      resolvedModule: text.startsWith(".")
        ? { resolvedFileName: resolve(from, "..", text), extension: ts.Extension.Ts }
        : undefined,
    })),
});
const checker = program.getTypeChecker();
const sources = files.flatMap((file) => program.getSourceFile(file) ?? []);

function visit(node: ts.Node, onNode: (node: ts.Node) => void): void {
  onNode(node);
  ts.forEachChild(node, (child) => visit(child, onNode));
}

/** Returns the symbol of a name, of the module that declares it and not of the import. */
function symbolOf(node: ts.Node): ts.Symbol | undefined {
  const symbol = checker.getSymbolAtLocation(node);
  return symbol && symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** The calls of each function and method of src/, to follow a parameter to its arguments. */
const calls = new Map<ts.Symbol, ts.CallExpression[]>();
/** The values that are assigned to each variable after its declaration. */
const assignments = new Map<ts.Symbol, ts.Expression[]>();
/** The values that object literals give to each property of a type. */
const properties = new Map<ts.Symbol, ts.Expression[]>();
for (const source of sources) {
  visit(source, (node) => {
    if (ts.isPropertyAssignment(node) && ts.isIdentifier(node.name)) {
      const property = checker.getContextualType(node.parent)?.getProperty(node.name.text);
      if (property) properties.set(property, [...(properties.get(property) ?? []), node.initializer]);
    }
    if (ts.isShorthandPropertyAssignment(node)) {
      const property = checker.getContextualType(node.parent)?.getProperty(node.name.text);
      if (property) properties.set(property, [...(properties.get(property) ?? []), node.name]);
    }
    const isAssignment = ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.EqualsToken;
    const target = isAssignment ? node.left : ts.isCallExpression(node) ? node.expression : undefined;
    const symbol = target && symbolOf(ts.isPropertyAccessExpression(target) ? target.name : target);
    if (!symbol) return;
    if (isAssignment) assignments.set(symbol, [...(assignments.get(symbol) ?? []), node.right]);
    if (ts.isCallExpression(node)) calls.set(symbol, [...(calls.get(symbol) ?? []), node]);
  });
}

/** A text that a message can have, and where its last part is written. */
interface Text {
  readonly text: string;
  readonly end: ts.Node;
}

type Arguments = ReadonlyMap<ts.Symbol, readonly Text[]>;

function joined(parts: readonly (readonly Text[])[]): readonly Text[] {
  return parts.reduce((before, part) => {
    // The end of a message matters here, so the first of many beginnings is enough.
    const heads = before.length * part.length > MAX_TEXTS ? before.slice(0, 1) : before;
    return heads.flatMap((head) =>
      part.map(({ text, end }) => ({ text: head.text + text, end: text === "" ? head.end : end })),
    );
  });
}

/** Returns all texts that an expression can have. A part that is not known is {@link VALUE}. */
function textsOf(node: ts.Expression, known: Arguments, depth: number): readonly Text[] {
  const unknown = [{ text: VALUE, end: node }];
  if (depth > MAX_DEPTH) return unknown;
  const follow = (next: ts.Expression) => textsOf(next, known, depth);
  if (ts.isStringLiteralLike(node)) return [{ text: node.text, end: node }];
  if (ts.isTemplateExpression(node)) {
    return joined([
      [{ text: node.head.text, end: node }],
      ...node.templateSpans.flatMap(({ expression, literal }) => [
        follow(expression),
        [{ text: literal.text, end: literal }],
      ]),
    ]);
  }
  if (
    ts.isParenthesizedExpression(node) ||
    ts.isAsExpression(node) ||
    ts.isSatisfiesExpression(node) ||
    ts.isNonNullExpression(node) ||
    ts.isAwaitExpression(node)
  ) {
    return follow(node.expression);
  }
  // These are results without a text, such as the one for "no problem".
  if (ts.isObjectLiteralExpression(node) || node.getText() === "undefined") return [];
  if (ts.isConditionalExpression(node)) return [...follow(node.whenTrue), ...follow(node.whenFalse)];
  if (ts.isBinaryExpression(node)) {
    const { left, operatorToken, right } = node;
    switch (operatorToken.kind) {
      case ts.SyntaxKind.PlusToken:
        return joined([follow(left), follow(right)]);
      case ts.SyntaxKind.QuestionQuestionToken:
        return [...follow(left), ...follow(right)];
      case ts.SyntaxKind.BarBarToken:
        return [...follow(left).filter(({ text }) => text !== ""), ...follow(right)];
      case ts.SyntaxKind.AmpersandAmpersandToken:
        return [...follow(right), { text: "", end: node }];
      default:
        return unknown;
    }
  }
  if (ts.isCallExpression(node)) return textsOfCall(node, known, depth) ?? unknown;
  if (ts.isIdentifier(node)) {
    const symbol = ts.isShorthandPropertyAssignment(node.parent)
      ? checker.getShorthandAssignmentValueSymbol(node.parent)
      : symbolOf(node);
    return (symbol && textsOfName(symbol, known, depth)) ?? unknown;
  }
  if (ts.isPropertyAccessExpression(node)) {
    const symbol = symbolOf(node.name);
    return (symbol && textsOfName(symbol, known, depth)) ?? unknown;
  }
  if (ts.isElementAccessExpression(node) && ts.isIdentifier(node.expression)) {
    const values = symbolOf(node.expression)?.valueDeclaration;
    const object = values && ts.isVariableDeclaration(values) && values.initializer;
    const record = object && unwrapped(object);
    if (!record || !ts.isObjectLiteralExpression(record)) return unknown;
    return record.properties.flatMap((property) =>
      ts.isPropertyAssignment(property) ? follow(property.initializer) : unknown,
    );
  }
  return unknown;
}

function unwrapped(node: ts.Expression): ts.Expression {
  return ts.isAsExpression(node) || ts.isSatisfiesExpression(node) || ts.isParenthesizedExpression(node)
    ? unwrapped(node.expression)
    : node;
}

function textsOfName(symbol: ts.Symbol, known: Arguments, depth: number): readonly Text[] | undefined {
  const given = known.get(symbol);
  if (given) return given;
  const declaration = symbol.valueDeclaration;
  if (!declaration) return undefined;
  if (ts.isBindingElement(declaration)) {
    const name = (declaration.propertyName ?? declaration.name).getText();
    const property = checker.getTypeAtLocation(declaration.parent).getProperty(name);
    return property && textsOfProperty(property, depth);
  }
  if (ts.isParameter(declaration)) return textsOfParameter(declaration, depth);
  if (!ts.isVariableDeclaration(declaration) && !ts.isPropertyAssignment(declaration)) return undefined;
  const values = [declaration.initializer ?? [], assignments.get(symbol) ?? []].flat();
  if (values.length === 0) return undefined;
  return values.flatMap((value) => textsOf(value, known, depth + 1));
}

function textsOfProperty(property: ts.Symbol, depth: number): readonly Text[] | undefined {
  const texts = properties.get(property)?.flatMap((value) => textsOf(value, new Map(), depth + 1));
  return texts?.length ? texts : undefined;
}

/** Returns the texts that the callers in src/ pass. */
function textsOfParameter(parameter: ts.ParameterDeclaration, depth: number): readonly Text[] | undefined {
  const owner = parameter.parent;
  if (!owner.name || !ts.isIdentifier(parameter.name)) {
    const variable = ts.isVariableDeclaration(owner.parent) ? owner.parent.name : undefined;
    if (!variable) return undefined;
  }
  const name = owner.name ?? (owner.parent as ts.VariableDeclaration).name;
  const symbol = symbolOf(name);
  const index = owner.parameters.indexOf(parameter);
  const callers = (symbol && calls.get(symbol)) ?? [];
  const texts = callers.flatMap(({ arguments: { [index]: argument } }) => {
    const value = argument ?? parameter.initializer;
    return value ? textsOf(value, new Map(), depth + 1) : [];
  });
  return texts.length === 0 ? undefined : texts;
}

/** Returns the texts of a function that only builds a text from its arguments. */
function textsOfCall(node: ts.CallExpression, known: Arguments, depth: number): readonly Text[] | undefined {
  const { expression } = node;
  const name = ts.isPropertyAccessExpression(expression) ? expression.name : expression;
  const declaration = symbolOf(name)?.valueDeclaration;
  const called =
    declaration && ts.isVariableDeclaration(declaration) && declaration.initializer
      ? declaration.initializer
      : declaration;
  if (!called || !ts.isFunctionLike(called) || !("body" in called) || !called.body) return undefined;
  const given = new Map<ts.Symbol, readonly Text[]>();
  for (const [index, parameter] of called.parameters.entries()) {
    const symbol = symbolOf(parameter.name);
    const value = node.arguments[index] ?? parameter.initializer;
    if (symbol && value) given.set(symbol, textsOf(value, known, depth + 1));
  }
  const results = returnedBy(called.body as ts.ConciseBody);
  if (results.length === 0) return undefined;
  return results.flatMap((result) => textsOf(result, given, depth + 1));
}

function returnedBy(body: ts.ConciseBody): readonly ts.Expression[] {
  if (!ts.isBlock(body)) return [body];
  const found: ts.Expression[] = [];
  const collect = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) return;
    if (ts.isReturnStatement(node) && node.expression) found.push(node.expression);
    ts.forEachChild(node, collect);
  };
  collect(body);
  return found;
}

/** Returns the message that an expression gives to an error, if it creates one. */
function messageIn(node: ts.Node): ts.Expression | undefined {
  if (ts.isNewExpression(node) && /^\w*Error$/.test(node.expression.getText())) {
    const built = classOf(node.expression);
    return built && messageOfClass(built) ? undefined : node.arguments?.[0];
  }
  if (ts.isClassDeclaration(node)) return messageOfClass(node);
  return undefined;
}

function classOf(name: ts.Node): ts.ClassDeclaration | undefined {
  const declaration = symbolOf(name)?.valueDeclaration;
  return declaration && ts.isClassDeclaration(declaration) ? declaration : undefined;
}

/** Returns the message that a class of errors builds itself, instead of accepting it. */
function messageOfClass(node: ts.ClassDeclaration): ts.Expression | undefined {
  const base = node.heritageClauses?.[0]?.types[0]?.expression.getText() ?? "";
  if (!/Error$/.test(base)) return undefined;
  let message: ts.Expression | undefined;
  visit(node, (child) => {
    if (ts.isCallExpression(child) && child.expression.kind === ts.SyntaxKind.SuperKeyword) {
      [message] = child.arguments;
    }
  });
  if (!message) return undefined;
  const value = ts.isCallExpression(message) ? message.arguments[0] : message;
  const declaration = value && symbolOf(value)?.valueDeclaration;
  return declaration && ts.isParameter(declaration) ? undefined : message;
}

interface Message {
  /** The file and the line of the last part of the text. */
  readonly place: string;
  readonly text: string;
}

function placeOf(node: ts.Node): string {
  const source = node.getSourceFile();
  const { line } = source.getLineAndCharacterOfPosition(node.getEnd());
  return `${relative(src, source.fileName)}:${line + 1}`;
}

function messagesOf(source: ts.SourceFile): readonly Message[] {
  const found = new Map<string, Message>();
  visit(source, (node) => {
    const message = messageIn(node);
    if (!message) return;
    for (const { text, end } of textsOf(message, new Map(), 0)) {
      const place = placeOf(end);
      found.set(`${place} ${lastSentenceOf(text)}`, { place, text });
    }
  });
  return [...found.values()];
}

function lastSentenceOf(text: string): string {
  return text.split(/(?<=[.?!]["”)]?)\s+(?=["“‹`A-Z])|\n|(?<=‹value›)(?=[A-Z])/).at(-1) ?? "";
}

const messages = sources.flatMap(messagesOf);

/** The verbs that a piece of advice begins with. */
const VERBS = [
  ..."Activate Add Apply Await Bundle Call Change Check Choose Close Connect Correct Create".split(" "),
  ..."Declare Define Fix Give Grant Import Include Install Integrate Issue Join Keep Leave List Lower".split(
    " ",
  ),
  ..."Make Map Merge Mount Name Open Pass Print Raise Read Register Reject Remove Rename Repeat".split(" "),
  ..."Request Restart Restore Retry Return Run Send Set Shorten Sign Start Stop Try Use Wait Write".split(
    " ",
  ),
  "Do not",
];
const verb = `(?:${VERBS.join("|")})\\b`;
/** Advice can begin with a condition or a purpose, such as "To continue, call …". */
const ADVICE = new RegExp(
  `^(?:${verb}|(?:(?:If|To|For|With|In|On) [^.]*?, |(?:First|Then|Otherwise) )(?:${verb.toLowerCase()}))`,
);

function isAdvice(text: string): boolean {
  const last = lastSentenceOf(text);
  return (
    ADVICE.test(last) ||
    // What is allowed, beside the value that is not.
    /\bmust (?:be|have|contain|begin|return)\b/.test(last) ||
    // The names to choose from.
    /^(?:The (?:options|kinds) are: |Did you mean )/.test(last)
  );
}

interface Exception {
  readonly file: string;
  /** The whole text. Undefined means each text of the file. */
  readonly text?: string;
  readonly reason: string;
}

const FROM_APP = "The app that calls the function writes the message.";
const FROM_SERVER = "The server wrote the text for the client.";
const IS_REASON = "It is a short reason in `failures` of a delivery report, or in a message with advice.";
const IS_REWRITTEN = "The storage catches the error, and retries or throws a StorageError with advice.";
const IS_CAUSE = "It is the text of another error, which the caller reports.";

const EXCEPTIONS: readonly Exception[] = [
  { file: "errors.ts", text: VALUE, reason: FROM_APP },
  {
    file: "cli/dev/postgres-binaries.ts",
    reason: "startEmbeddedPostgres() reports it with three things to do.",
  },
  { file: "client/calls.ts", text: VALUE, reason: FROM_SERVER },
  { file: "client/link.ts", text: VALUE, reason: FROM_SERVER },
  { file: "client/socket.ts", text: "Permission denied.", reason: FROM_SERVER },
  { file: "delivery/credentials.ts", text: `no response within ${VALUE} ms`, reason: IS_REASON },
  { file: "delivery/exchange.ts", text: "timeout", reason: IS_REASON },
  { file: "delivery/exchange.ts", text: "a response without a status", reason: IS_REASON },
  { file: "delivery/fetch-client.ts", text: "The client is destroyed", reason: IS_REASON },
  { file: "delivery/fetch-client.ts", text: VALUE, reason: IS_CAUSE },
  { file: "delivery/frame.ts", text: VALUE, reason: IS_CAUSE },
  { file: "delivery/management-api.ts", text: "timeout", reason: IS_REASON },
  { file: "events/message.ts", text: VALUE, reason: IS_REASON },
  {
    file: "local/listener.ts",
    text: "one of them is missing",
    reason: "It is a part of the message of the ConfigurationError below it.",
  },
  { file: "storage/checked-pool.ts", text: "The connection may be lost.", reason: IS_REWRITTEN },
  {
    file: "storage/postgres-failures.ts",
    text: "timeout exceeded when trying to connect",
    reason: IS_REWRITTEN,
  },
  {
    file: "storage/statement-clock.ts",
    text: `The server did not finish a statement within ${VALUE} ms, so the statement was cancelled.`,
    reason: IS_REWRITTEN,
  },
  {
    file: "storage/statement-clock.ts",
    text: `No answer arrived within ${VALUE} ms, so the connection was closed.`,
    reason: IS_REWRITTEN,
  },
  { file: "storage/statement-clock.ts", text: VALUE, reason: IS_CAUSE },
  {
    file: "storage/storage-errors.ts",
    text: `${VALUE} is committed, but the database failed afterwards: ${VALUE} ${VALUE}`,
    reason: "The callers pass the last sentences, such as `Do not repeat the change.`",
  },
  {
    file: "testing/socket.ts",
    text: `${VALUE} failed with status ${VALUE}: ${VALUE}`,
    reason: "It ends with the message of the decision, which ends with advice.",
  },
];

const matches = ({ file, text }: Exception, message: Message) =>
  message.place.startsWith(`${file}:`) && (text === undefined || text === message.text);
const isException = (message: Message) => EXCEPTIONS.some((each) => matches(each, message));

/**
 * Returns the messages of valibot schemas. `parseOptions()` adds the name of the option and the
 * received value.
 */
function constraintsOf(source: ts.SourceFile): readonly Message[] {
  const found: Message[] = [];
  visit(source, (node) => {
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return;
    const { expression, name } = node.expression;
    if (expression.getText() !== "v" || !TAKES_MESSAGE.has(name.text)) return;
    const last = node.arguments.at(-1);
    const isFunction = last !== undefined && ts.isArrowFunction(last);
    const values = isFunction ? returnedBy(last.body) : last ? [last] : [];
    for (const { text, end } of values.flatMap((value) => textsOf(value, new Map(), 0))) {
      found.push({ place: placeOf(end), text });
    }
  });
  return found;
}

const TAKES_MESSAGE = new Set(
  "array boolean check custom function literal maxLength minLength nonEmpty number object picklist regex strictObject string union".split(
    " ",
  ),
);

describe("the message of an error", () => {
  test("is found in every folder that creates errors", () => {
    expect(messages.length).toBeGreaterThan(400);
  });

  test("ends with what to do", () => {
    const missing = messages.filter(
      (message) =>
        !isAdvice(message.text) && !message.place.startsWith("options.ts:") && !isException(message),
    );
    expect(missing.map(({ place, text }) => `${place}: ${text}`)).toEqual([]);
  });

  test("of a schema states what is allowed", () => {
    const constraints = sources.flatMap(constraintsOf);
    const wrong = constraints.filter(({ text }) => !isConstraint(text));
    expect(wrong.map(({ place, text }) => `${place}: ${text}`)).toEqual([]);
    expect(constraints.length).toBeGreaterThan(50);
  });

  test("has no exception that is not needed", () => {
    const unused = EXCEPTIONS.filter((each) => !messages.some((message) => matches(each, message)));
    expect(unused).toEqual([]);
  });
});

/** What `optionsOf()` completes with the message of a schema, or with the hint of its caller. */
const COMPLETED = [`is missing. It ${VALUE}.`, `is not an option. ${VALUE}`];

/** A predicate such as "must be true or false", or one with a sentence that says what to do. */
function isConstraint(text: string): boolean {
  if (text === VALUE || COMPLETED.includes(text) || text.startsWith("must ")) return true;
  return /^(?:is|has) /.test(text) && isAdvice(text);
}
