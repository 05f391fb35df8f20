import { type Stack, StringConcat, Token, Tokenization } from "aws-cdk-lib";
import { check } from "../aws/checks.ts";
import { defineGateway, type GatewayDefinition, isDefined } from "../aws/define-gateway.ts";
import type { DomainOptions } from "../aws/definition-parts.ts";
import type { OwnTarget } from "../aws/targets.ts";
import { partitionOf } from "../protocol/partitions.ts";
import type { SallyportApiDefinition, SallyportApiDomain, SallyportApiProps } from "./api-props.ts";

/** Replaces a token while a value is checked, because its value is not known before the deployment. */
const PLACEHOLDER = "token";
const PLACEHOLDER_ACCOUNT = "000000000000";

/**
 * Returns the gateway of a construct, with the tokens of CDK in place of ARNs and names.
 *
 * `defineGateway` checks the same gateway with placeholders for the tokens.
 *
 * @param where the construct, for messages
 * @throws ConfigurationError for a property or an option that AWS would reject
 */
export function definitionOf(where: string, stack: Stack, props: SallyportApiProps): GatewayDefinition {
  const given = optionsOfDefinition(props.definition);
  const region = regionOf(where, stack, given.region);
  const target = targetOf(where, props, given.target);
  const routeHandlers = Object.entries(props.routeHandlers ?? {}).map(
    ([key, { functionArn }]) => [key, { lambda: functionArn }] as const,
  );
  const domains = props.domain === undefined ? undefined : [props.domain].flat().map(domainOptions);
  const accessLog = accessLogOf(stack, given.accessLog, props);
  const checked = defineGateway({
    ...given,
    region,
    account: accountOf(where, stack, given.account),
    target: checkable(target, region),
    routes: {
      ...given.routes,
      ...Object.fromEntries(routeHandlers.map(([key, handler]) => [key, checkable(handler, region)])),
    },
    ...(domains ? { domain: domains.map((domain) => checkableDomain(domain, region)) } : {}),
    ...(accessLog ? { accessLog: checkableLog(accessLog, region) } : {}),
  });
  const handlers = new Map(routeHandlers);
  return {
    ...checked,
    target: typeof target === "string" ? target.replace(/\/+$/, "") : target,
    routes: new Map([...checked.routes].map(([key, each]) => [key, handlers.get(key) ?? each])),
    domains: domains ?? checked.domains,
    accessLog: accessLog && checked.accessLog && { ...checked.accessLog, ...accessLog },
  };
}

/** Returns the options that `defineGateway` accepts, also for its result. */
function optionsOfDefinition(definition: SallyportApiProps["definition"]): SallyportApiDefinition {
  if (!isDefinition(definition)) return definition;
  const { domains, routes, ...options } = definition;
  return { ...options, domain: domains, routes: Object.fromEntries(routes) } as SallyportApiDefinition;
}

function isDefinition(definition: SallyportApiProps["definition"]): definition is GatewayDefinition {
  return isDefined(definition as GatewayDefinition);
}

function regionOf(where: string, stack: Stack, given: string | undefined): string {
  const { region } = stack;
  check(
    where,
    !Token.isUnresolved(region),
    'the region of the stack is not known, but ARNs of the API contain it. Pass it to the stack, such as env: { region: "eu-west-1" }',
  );
  check(
    where,
    given === undefined || given === region,
    `the definition is for the region ${given}, but the stack is in ${region}. Use the same region, or omit region in the options`,
  );
  return region;
}

function accountOf(where: string, { account }: Stack, given: string | undefined): string {
  if (Token.isUnresolved(account)) return given ?? PLACEHOLDER_ACCOUNT;
  check(
    where,
    given === undefined || given === account,
    `the definition is for the account ${given}, but the stack is in ${account}. Use the same account, or set account to ${account}`,
  );
  return account;
}

function targetOf(
  where: string,
  { handler, url }: SallyportApiProps,
  given: OwnTarget | undefined,
): OwnTarget {
  check(
    where,
    handler === undefined || url === undefined,
    "handler and url are both set. Remove one of them",
  );
  const target = handler ? { lambda: handler.functionArn } : (url ?? given);
  check(
    where,
    target !== undefined,
    "the API has no target. Add handler with a Lambda function, or url with the URL of a view",
  );
  return target;
}

function domainOptions({ name, certificate, mappingKey }: SallyportApiDomain): Required<DomainOptions> {
  return { name, certificateArn: certificate.certificateArn, mappingKey: mappingKey ?? "" };
}

/** API Gateway does not accept the ARN of a log group with `:*`, which CDK returns. */
function accessLogOf(
  { account, region }: Stack,
  given: SallyportApiDefinition["accessLog"],
  { accessLogGroup }: SallyportApiProps,
): { readonly destinationArn: string; readonly format?: string } | undefined {
  if (!accessLogGroup) return given && withoutUndefined(given);
  const { logGroupName } = accessLogGroup;
  const destinationArn = `arn:${partitionOf(region)}:logs:${region}:${account}:log-group:${logGroupName}`;
  return withoutUndefined({ destinationArn, format: given?.format });
}

function withoutUndefined({
  destinationArn,
  format,
}: {
  readonly destinationArn: string;
  readonly format?: string | undefined;
}) {
  return { destinationArn, ...(format === undefined ? {} : { format }) };
}

function checkable(target: OwnTarget, region: string): OwnTarget {
  if (typeof target === "string") return withoutTokens(target);
  const { lambda } = target;
  if (!Token.isUnresolved(lambda)) return target;
  const version = lambda.endsWith(":$LATEST") ? ":$LATEST" : "";
  return { lambda: `${arn("lambda", region)}:function:${PLACEHOLDER}${version}` };
}

function checkableDomain(domain: DomainOptions, region: string): DomainOptions {
  const { name, certificateArn } = domain;
  return {
    ...domain,
    name: withoutTokens(name, `${PLACEHOLDER}.${PLACEHOLDER}`),
    certificateArn: Token.isUnresolved(certificateArn)
      ? `${arn("acm", region)}:certificate/${PLACEHOLDER}`
      : certificateArn,
  };
}

function checkableLog<Log extends { readonly destinationArn: string }>(log: Log, region: string): Log {
  if (!Token.isUnresolved(log.destinationArn)) return log;
  return { ...log, destinationArn: `${arn("logs", region)}:log-group:${PLACEHOLDER}` };
}

function arn(service: string, region: string): string {
  return `arn:${partitionOf(region)}:${service}:${region}:${PLACEHOLDER_ACCOUNT}`;
}

function withoutTokens(text: string, placeholder = PLACEHOLDER): string {
  if (!Token.isUnresolved(text)) return text;
  const fragments = Tokenization.reverseString(text).mapTokens({ mapToken: () => placeholder });
  return String(fragments.join(new StringConcat()));
}
