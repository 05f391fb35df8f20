import { InvalidArgumentError } from "commander";
import type { Target } from "../../aws.ts";
import { INTERNAL } from "../../internal.ts";
import type { Sallyport } from "../../sallyport.ts";

/** The custom routes of the local API of a function. */
export interface FunctionRoutes {
  readonly keys: readonly string[];
  /** The expression that selects the route of a message, such as `$request.body.action`. */
  readonly routeSelectionExpression: string;
}

/**
 * Returns the added routes, and those of the first defined gateway that has a function as its target.
 * A route with a URL as its target calls no function, so it is left out.
 *
 * @param added the route keys of `--route`
 */
export function functionRoutes(sallyport: Sallyport, added: readonly string[] = []): FunctionRoutes {
  const { definitions } = sallyport[INTERNAL].provisioning;
  const definition = [...definitions.values()].find(({ target }) => isFunction(target));
  const defined = [...(definition?.routes ?? [])].flatMap(([key, target]) =>
    isFunction(target) ? [key] : [],
  );
  return {
    keys: [...new Set([...defined, ...added])],
    routeSelectionExpression: definition?.routeSelectionExpression ?? "$request.body.action",
  };
}

function isFunction(target: Target): boolean {
  return typeof target === "object" && "lambda" in target;
}

/** Parses `--route`, which can be repeated. */
export function routeKey(text: string, previous: readonly string[] = []): readonly string[] {
  if (/^(?=.{1,128}$)[^$\s](?:.*\S)?$/s.test(text)) return [...previous, text];
  throw new InvalidArgumentError(
    'Use a custom route key of 1 to 128 characters that does not begin with $, such as "moderate".',
  );
}
