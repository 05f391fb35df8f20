import * as v from "valibot";
import { formatValue } from "../format-value.ts";
import { optionsOf, recordOption, textOption } from "../options.ts";
import { partitionOf } from "../protocol/partitions.ts";
import { MAX_ROUTES } from "../protocol/quotas.ts";
import { check } from "./checks.ts";

/** A Lambda function that serves a view. */
export interface LambdaTarget {
  /**
   * The ARN of the function, with or without an alias, such as
   * `arn:aws:lambda:eu-west-1:123456789012:function:chat:live`.
   */
  readonly lambda: string;
}

/** A view of another deployment that shares the database of this app, or another HTTP service. */
export interface ServiceTarget {
  /**
   * The URL of the service, which is used unchanged.
   *
   * The service receives the same headers as this app, including the secret of the gateway. Anyone
   * who knows the secret can call this app as the gateway.
   */
  readonly service: string;
}

/** A target of this app: the URL of a view, or a Lambda function that serves one. */
export type OwnTarget = string | LambdaTarget;

/** The target of a route: a URL, a Lambda function, or another service. */
export type Target = OwnTarget | ServiceTarget;

/** Returns the URL of a target, or undefined for a Lambda function. */
export function urlOfTarget(target: Target): string | undefined {
  if (typeof target === "string") return target;
  return "service" in target ? target.service : undefined;
}

const LAMBDA_ARN =
  /^arn:(aws[a-z-]*):lambda:([a-z0-9-]+):(\d{12}):function:[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?$/;

/** Splits the path of a URL into the path of a view and the name of the route below it. */
export function viewOf(target: string): { readonly viewPath: string; readonly route: string } {
  const { pathname } = new URL(target);
  const end = pathname.lastIndexOf("/");
  return { viewPath: pathname.slice(0, end), route: pathname.slice(end + 1) };
}

/** Returns the account in the ARN of a function, or an empty string for another ARN. */
export function accountOf({ lambda }: LambdaTarget): string {
  return LAMBDA_ARN.exec(lambda)?.[3] ?? "";
}

/** Returns the ARNs of the functions among the targets of a gateway, without duplicates. */
export function functionsOf({
  target,
  routes,
}: {
  readonly target: Target;
  readonly routes: ReadonlyMap<string, Target>;
}): readonly string[] {
  const all = [target, ...routes.values()];
  return [
    ...new Set(all.flatMap((each) => (typeof each === "object" && "lambda" in each ? [each.lambda] : []))),
  ];
}

/**
 * Returns the ARNs of the functions that are in the account of the API. Provisioning changes the
 * policies of these functions only.
 */
export function ownFunctionsOf(definition: {
  readonly target: Target;
  readonly routes: ReadonlyMap<string, Target>;
  readonly account: string | undefined;
}): readonly string[] {
  return functionsOf(definition).filter((lambda) => accountOf({ lambda }) === definition.account);
}

const serviceSchema = optionsOf<ServiceTarget>()({
  service: v.string("must be a URL such as https://billing.example.com/ws/billing/default"),
});
const lambdaSchema = optionsOf<LambdaTarget>()({
  lambda: textOption(LAMBDA_ARN, "the ARN of a Lambda function"),
});

/** The schema of a target: a URL, a function, or another service. */
export const targetSchema = v.lazy((target): v.GenericSchema<Target> => {
  if (typeof target !== "object" || target === null) {
    return v.string('must be a URL such as https://www.example.com/ws/chat, or { lambda: "arn:…" }');
  }
  return "service" in target ? serviceSchema : lambdaSchema;
});

export const routesSchema = v.pipe(
  recordOption(
    textOption(
      /^(?=.{1,128}$)[^$\s](?:.*\S)?$/s,
      "1 to 128 characters that do not begin with $ and have no space at their ends",
    ),
    targetSchema,
    "an object of route keys and their targets",
  ),
  v.check(
    (routes) => Object.keys(routes).length <= MAX_ROUTES - 3,
    `must have at most ${MAX_ROUTES - 3} keys: an API has at most ${MAX_ROUTES} routes`,
  ),
);

/**
 * Checks that AWS can call a target, and returns it frozen, with a normalized URL.
 *
 * @param what the name of the option, for messages
 * @throws ConfigurationError if AWS cannot call the target from the region
 */
export function checkTarget(where: string, what: string, target: Target, region: string): Target {
  if (typeof target === "string") return checkedUrl(where, what, target);
  if ("service" in target) {
    return Object.freeze({ service: checkedUrl(where, `${what}.service`, target.service) });
  }
  const { lambda } = target;
  const [, partition, , functionRegion] = lambda.split(":");
  check(
    where,
    functionRegion === region,
    `${what}.lambda is in ${functionRegion}, but an API can call only functions of its region ${region}. Use a function of that region`,
  );
  check(
    where,
    partition === partitionOf(region),
    `${what}.lambda is in partition ${partition}, but ${region} is in ${partitionOf(region)}. Use a function of the region ${region}`,
  );
  check(
    where,
    !lambda.endsWith(":$LATEST"),
    `${what}.lambda ends with :$LATEST, which cannot have a permission. Remove :$LATEST, or use an alias`,
  );
  return Object.freeze({ lambda });
}

function checkedUrl(where: string, what: string, target: string): string {
  check(
    where,
    URL.canParse(target),
    `${what} must be a URL such as https://www.example.com/ws/chat, but received ${formatValue(target)}`,
  );
  const url = new URL(target);
  // First, because the messages below repeat the URL, which must not contain credentials.
  check(
    where,
    !url.username && !url.password,
    `${what} contains a user name or password, which AWS would not send. Remove it from the URL`,
  );
  check(
    where,
    url.protocol === "https:",
    `${what} ${target} must begin with https://, because the secret and your users' cookies are sent there. Use an https:// URL`,
  );
  check(
    where,
    // `search` and `hash` are empty for a single ? or # at the end.
    !/[?#]/.test(url.href),
    `${what} ${target} has a query or fragment. Remove everything after the path`,
  );
  check(
    where,
    !url.hostname.startsWith("["),
    `${what} ${target} contains an IPv6 address, which AWS does not accept. Use a host name`,
  );
  check(where, url.href.length <= 2000, `${what} is longer than 2000 characters. Use a shorter URL`);
  return url.href.replace(/\/+$/, "");
}

/**
 * Checks the targets of routes, and returns them sorted by route key.
 *
 * @throws ConfigurationError for a target that AWS cannot call or that names no route of a view
 */
export function checkRoutes(
  where: string,
  routes: Readonly<Record<string, Target>>,
  region: string,
): ReadonlyMap<string, Target> {
  const entries = Object.entries(routes).map(([key, target]) => {
    const checked = checkTarget(where, `routes["${key}"]`, target, region);
    if (typeof checked === "string") {
      const { route } = viewOf(checked);
      check(
        where,
        /^[A-Za-z0-9_-]+$/.test(route) && route !== "connect" && route !== "disconnect",
        `routes["${key}"] must end with a route name below the path of the view. Add one, such as /ws/chat/${/^[A-Za-z0-9_-]+$/.test(key) ? key : "default"}`,
      );
    }
    return [key, checked] as const;
  });
  return new Map(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}
