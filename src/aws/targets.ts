import * as v from "valibot";
import { formatValue } from "../format-value.ts";
import { optionsOf, recordOption, textOption } from "../options.ts";
import { partitionOf } from "../protocol/partitions.ts";
import { MAX_ROUTES } from "../protocol/quotas.ts";
import { check } from "./checks.ts";

/** A Lambda function that serves a view. */
export interface LambdaTarget {
  /** The function's ARN, perhaps with an alias: `arn:aws:lambda:eu-west-1:123456789012:function:chat:live`. */
  readonly lambda: string;
}

/** A view of another deployment that shares this app's database, or anything else that answers such calls. */
export interface ServiceTarget {
  /** Its URL as it is. It is sent the same headers as this app, the gateway's secret among them: whoever knows that can call this app as the gateway. */
  readonly service: string;
}

/** What serves a view of this app. */
export type OwnTarget = string | LambdaTarget;

/** Where an integration's calls go. */
export type Target = OwnTarget | ServiceTarget;

/** The URL of what is called by one; undefined of a function. */
export function urlOfTarget(target: Target): string | undefined {
  if (typeof target === "string") return target;
  return "service" in target ? target.service : undefined;
}

const LAMBDA_ARN =
  /^arn:(aws[a-z-]*):lambda:([a-z0-9-]+):(\d{12}):function:[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?$/;

/** Where the path of a URL leads: a view's path, and the name of the route below it. */
export function viewOf(target: string): { readonly viewPath: string; readonly route: string } {
  const { pathname } = new URL(target);
  const end = pathname.lastIndexOf("/");
  return { viewPath: pathname.slice(0, end), route: pathname.slice(end + 1) };
}

/** The account of a function's ARN. */
export function accountOf({ lambda }: LambdaTarget): string {
  return LAMBDA_ARN.exec(lambda)?.[3] ?? "";
}

/** ARNs of the functions among a gateway's targets, each once. */
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

/** Those of them that are of the API's own account, whose policies are ours to change. */
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

/** Where calls go: a URL, a function, or another service. */
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

/** What a target must agree with, and what AWS could not call. @throws ConfigurationError */
export function checkTarget(where: string, what: string, target: Target, region: string): Target {
  if (typeof target === "string") return checkedUrl(where, what, target);
  if ("service" in target) {
    return Object.freeze({ service: checkedUrl(where, `${what}.service`, target.service) });
  }
  const { lambda } = target;
  const [, partition, , itsRegion] = lambda.split(":");
  check(
    where,
    itsRegion === region,
    `${what}.lambda is in ${itsRegion}, but an API calls only functions of its own region ${region}`,
  );
  check(
    where,
    partition === partitionOf(region),
    `${what}.lambda is in partition ${partition}, but ${region} is in ${partitionOf(region)}`,
  );
  check(
    where,
    !lambda.endsWith(":$LATEST"),
    `${what}.lambda ends with :$LATEST, which cannot have a permission. Remove it, or name an alias`,
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
  // Before whatever repeats the URL.
  check(
    where,
    !url.username && !url.password,
    `${what} has a name or password in it, which AWS would not send`,
  );
  check(
    where,
    url.protocol === "https:",
    `${what} ${target} must be https://: its secret and your users' cookies travel there`,
  );
  check(
    where,
    // Not `search` and `hash`, which are empty for a mere ? or # at the end.
    !/[?#]/.test(url.href),
    `${what} ${target} has a query or fragment; write the URL up to its path`,
  );
  check(where, !url.hostname.startsWith("["), `${what} ${target} is an address of IPv6; AWS takes a name`);
  check(where, url.href.length <= 2000, `${what} is longer than 2000 characters`);
  return url.href.replace(/\/+$/, "");
}

/** By key, in the order of the keys. @throws ConfigurationError */
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
        `routes["${key}"] must end with a name of its own below the path of the view, such as /ws/chat/${/^[A-Za-z0-9_-]+$/.test(key) ? key : "default"}`,
      );
    }
    return [key, checked] as const;
  });
  return new Map(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}
