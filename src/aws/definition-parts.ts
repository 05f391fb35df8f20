import * as v from "valibot";
import { numberOption, optionsOf, recordOption, textOption, wholeNumberOption } from "../options.ts";
import { partitionOf } from "../protocol/partitions.ts";
import { check } from "./checks.ts";
import { accountOf, functionsOf, type Target } from "./targets.ts";

export interface DomainOptions {
  /** Such as `ws.example.com`. Its parent domain is where your cookies must be valid. */
  readonly name: string;
  /** Of a certificate for the name in AWS Certificate Manager, in the API's own region. */
  readonly certificateArn: string;
  /** The path below the name, such as `chat` for `wss://ws.example.com/chat`. Default: none. */
  readonly mappingKey?: string | undefined;
}

export interface ThrottlingOptions {
  /** Requests a second, above 0: with 0 every connect would get 429. */
  readonly ratePerSecond: number;
  /** Requests at once, a whole number from 1. */
  readonly burst: number;
}

export interface AccessLogOptions {
  /** ARN of a log group in CloudWatch, or of a Firehose stream whose name begins with `amazon-apigateway-`. */
  readonly destinationArn: string;
  /** What a line says; with `$context.requestId` in it. Default: JSON of what identifies an event and how it ended. */
  readonly format?: string | undefined;
}

const LOG_FORMAT = JSON.stringify(
  Object.fromEntries(
    [
      "requestId",
      "requestTime",
      "eventType",
      "routeKey",
      "status",
      "connectionId",
      "identity.sourceIp",
      "integration.status",
      "integration.latency",
      "error.message",
    ].map((name) => [name, `$context.${name}`]),
  ),
);

const DOMAIN_NAME = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$/;
/** API Gateway answers /ping and /sping of every domain itself. */
const MAPPING_KEY = /^(?!s?ping$)[A-Za-z0-9$_.+!*'()-]{0,300}$/;

const domainSchema = optionsOf<DomainOptions>()({
  name: textOption(DOMAIN_NAME, "a domain name in lower case, such as ws.example.com"),
  certificateArn: textOption(
    /^arn:[^:]*:acm:[^:]*:[^:]*:certificate\//,
    "the ARN of a certificate in AWS Certificate Manager",
  ),
  mappingKey: v.optional(
    textOption(MAPPING_KEY, 'at most 300 letters, digits and $-_.+!*\'(), and not "ping" or "sping"'),
    "",
  ),
});

export const domainsSchema = v.lazy(
  (value): v.GenericSchema<DomainOptions | readonly DomainOptions[], Domains> =>
    (Array.isArray(value) ? v.array(domainSchema) : domainSchema) as never,
);

type Domains = Required<DomainOptions> | readonly Required<DomainOptions>[];

export const throttlingSchema = optionsOf<ThrottlingOptions>()({
  ratePerSecond: numberOption(
    Number.MIN_VALUE,
    Number.MAX_VALUE,
    "a number above 0: with 0 every connect would get 429",
  ),
  burst: wholeNumberOption(1),
});

const LOG_DESTINATION =
  /^arn:aws[a-z-]*:(logs:[a-z0-9-]+:\d{12}:log-group:|firehose:[a-z0-9-]+:\d{12}:deliverystream\/amazon-apigateway-)/;

export const accessLogSchema = optionsOf<AccessLogOptions>()({
  destinationArn: textOption(
    LOG_DESTINATION,
    "the ARN of a log group, or of a Firehose stream whose name begins with amazon-apigateway-",
  ),
  format: v.optional(
    textOption(
      /^(?=.*\$context\.(?:extendedR|r)equestId)[^\r\n]{1,3072}$/,
      "one line of at most 3072 characters that contains $context.requestId",
    ),
    LOG_FORMAT,
  ),
});

export const tagsSchema = v.pipe(
  recordOption(
    textOption(
      /^(?!aws:|sallyport:)[\p{L}\p{Z}\p{N}_.:/=+@-]{1,128}$/iu,
      "1 to 128 letters, digits, spaces and _.:/=+-@, and not begin with aws: or sallyport:",
    ),
    textOption(/^[\p{L}\p{Z}\p{N}_.:/=+@-]{0,256}$/u, "at most 256 letters, digits, spaces and _.:/=+-@"),
    "an object of keys and their values",
  ),
  v.check((tags) => Object.keys(tags).length <= 48, "must have at most 48 entries"),
);

/** In the order of their keys. */
export function sorted(entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** What a domain must agree with: the region of the API, and the other domains. @throws ConfigurationError */
export function checkDomains(
  where: string,
  given: Domains,
  region: string,
): readonly Required<DomainOptions>[] {
  const domains = [given].flat() as readonly Required<DomainOptions>[];
  for (const { certificateArn } of domains) {
    const [, partition, , itsRegion] = certificateArn.split(":");
    check(
      where,
      partition === partitionOf(region),
      `domain.certificateArn is in partition ${partition}, but ${region} is in ${partitionOf(region)}`,
    );
    check(
      where,
      itsRegion === region,
      `domain.certificateArn is in ${itsRegion}, but the certificate must be in ${region}, where the API is`,
    );
  }
  const addresses = domains.map(domainAddress);
  const twice = addresses.find((address, index) => addresses.indexOf(address) !== index);
  check(where, twice === undefined, `domain contains ${twice} twice`);
  for (const { name, certificateArn } of domains) {
    const other = domains.find((each) => each.name === name && each.certificateArn !== certificateArn);
    check(where, other === undefined, `domain ${name} has two certificates, but can have only one`);
  }
  return Object.freeze(domains.map((domain) => Object.freeze(domain)));
}

/** What comes after `wss://`. */
export function domainAddress({ name, mappingKey }: Pick<DomainOptions, "name" | "mappingKey">): string {
  return [name, mappingKey].filter(Boolean).join("/");
}

/** @throws ConfigurationError where a function's permission needs it, and nothing says which it is */
export function accountOfGateway(
  where: string,
  given: string | undefined,
  parts: {
    readonly target: Target;
    readonly routes: ReadonlyMap<string, Target>;
    readonly domains: readonly DomainOptions[];
    readonly accessLog: AccessLogOptions | undefined;
  },
): string | undefined {
  const { domains, accessLog } = parts;
  const lambdas = functionsOf(parts);
  const [own] = [domains[0]?.certificateArn, accessLog?.destinationArn].flatMap((arn) => arn ?? []);
  const account = given ?? own?.split(":")[4];
  if (account !== undefined) return account;
  const accounts = [...new Set(lambdas.map((lambda) => accountOf({ lambda })))];
  check(
    where,
    accounts.length <= 1,
    `its functions are in the accounts ${accounts.join(" and ")}; say in which the API is: account: "…"`,
  );
  return accounts[0];
}

/** The log with the region that it must be in. @throws ConfigurationError */
export function checkLog(
  where: string,
  log: Required<AccessLogOptions>,
  region: string,
): Required<AccessLogOptions> {
  // AWS accepts the ARN of a log group only without the `:*` that its own listings end with.
  const destinationArn = log.destinationArn.replace(/:\*$/, "");
  const itsRegion = destinationArn.split(":")[3];
  check(
    where,
    itsRegion === region,
    `accessLog.destinationArn is in ${itsRegion}, but the log must be in ${region}, where the API is`,
  );
  return Object.freeze({ destinationArn, format: log.format });
}
