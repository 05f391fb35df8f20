import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import { check } from "./checks.ts";
import { type GatewayDefinition, isDefined } from "./define-gateway.ts";
import { viewOf } from "./targets.ts";

/**
 * The gateways of an app by name, each leading to views that are there.
 *
 * @throws ConfigurationError for two of one name, or a URL that leads nowhere or to a view that chooses otherwise
 */
export function definedGateways(
  definitions: readonly GatewayDefinition[],
  views: ReadonlyMap<string, TargetView>,
): ReadonlyMap<string, GatewayDefinition> {
  const byName = new Map<string, GatewayDefinition>();
  for (const definition of definitions) {
    if (!isDefined(definition)) {
      throw new ConfigurationError("gateways: write each as defineGateway({ … }).");
    }
    if (byName.has(definition.name)) {
      throw new ConfigurationError(`gateways: two are called "${definition.name}". Give each its own name.`);
    }
    checkTargets(definition, views);
    byName.set(definition.name, definition);
  }
  return byName;
}

/** The gateway of a name, or the only one. @throws ConfigurationError that names the gateways there are */
export function definedAs(
  definitions: ReadonlyMap<string, GatewayDefinition>,
  name: string | undefined,
): GatewayDefinition {
  const [only, ...others] = definitions.values();
  if (!only) {
    throw new ConfigurationError(
      "The app defines no gateway. Write: createSallyport({ gateways: [defineGateway({ … })] })",
    );
  }
  const known = `There are: ${[...definitions.keys()].join(", ")}.`;
  if (name === undefined) {
    if (others.length === 0) return only;
    throw new ConfigurationError(`Which gateway? ${known}`);
  }
  const found = definitions.get(name);
  if (found) return found;
  throw new ConfigurationError(
    `The app defines no gateway "${name}".${closestMatch(name, definitions.keys())} ${known}`,
    { code: "SALLYPORT_UNKNOWN_NAME" },
  );
}

/** What of a mounted view a gateway must agree with. */
export interface TargetView {
  readonly handlerKey: string;
  readonly routeKey: string;
}

/**
 * A gateway's URLs lead to views that are there, and that know by which field messages choose their route.
 *
 * @param views by path; a target's path ends with one of them, after whatever a proxy strips
 * @throws ConfigurationError that names the URL and the views
 */
function checkTargets(definition: GatewayDefinition, views: ReadonlyMap<string, TargetView>): void {
  const where = `Gateway "${definition.name}"`;
  const { target, routes, routeSelectionExpression } = definition;
  const [, field] = /^\$request\.body\.([A-Za-z0-9_-]+)$/.exec(routeSelectionExpression) ?? [];
  const checkView = (what: string, url: string, path: string) => {
    const [viewPath, view] = [...views].find(([each]) => path.endsWith(each)) ?? [];
    check(
      where,
      view !== undefined,
      `${what} ${url} leads to no view. Views are mounted at ${[...views.keys()].join(", ")}`,
    );
    const isRead = field === undefined || field === view.routeKey || field === view.handlerKey;
    check(
      where,
      routes.size === 0 || isRead,
      `messages choose their route by "${field}", and the view at ${viewPath} takes "${view.routeKey}" for that. Write there: routeKey = "${field}", or here: routeSelectionExpression: "$request.body.${view.routeKey}"`,
    );
  };
  if (typeof target === "string") checkView("target", target, new URL(target).pathname);
  for (const [key, url] of routes) {
    if (typeof url === "string") checkView(`routes["${key}"]`, url, viewOf(url).viewPath);
  }
}
