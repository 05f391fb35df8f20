import * as v from "valibot";
import { numberOption, optionsOf, recordOption, textOption, wholeNumberOption } from "../options.ts";
import { partitionOf } from "../protocol/partitions.ts";
import { check } from "./checks.ts";
import { accountOf, functionsOf, type Target } from "./targets.ts";

/** A custom domain of a gateway. */
export interface DomainOptions {
  /**
   * The domain name in lower case, such as `ws.example.com`. Set your cookies for its parent
   * domain.
   */
  readonly name: string;
  /**
   * The ARN of a certificate for the name in AWS Certificate Manager. The certificate must be in
   * the region of the API.
   */
  readonly certificateArn: string;
  /** The path below the name, such as `chat` for `wss://ws.example.com/chat`. Default: none. */
  readonly mappingKey?: string | undefined;
}

/** The request limits of a stage. They apply to each route separately. */
export interface ThrottlingOptions {
  /** Requests per second, above 0. With 0, every connect would receive 429. */
  readonly ratePerSecond: number;
  /** The maximum burst of requests, a whole number from 1. */
  readonly burst: number;
}

/** The access log of a stage. */
export interface AccessLogOptions {
  /**
   * The ARN of a CloudWatch log group, or of a Firehose stream with a name that begins with
   * `amazon-apigateway-`. It must be in the region of the API.
   */
  readonly destinationArn: string;
  /**
   * The format of a log line, at most 3072 characters. It must contain `$context.requestId` or
   * `$context.extendedRequestId`. Default: JSON with the ids, the route, the status and the error
   * of each event.
   */
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
/** API Gateway reserves /ping and /sping of every domain. */
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
    "a number above 0, because with 0 every connect would receive 429",
  ),
  burst: wholeNumberOption(1),
});

const LOG_DESTINATION =
  /^arn:aws[a-z-]*:(logs:[a-z0-9-]+:\d{12}:log-group:|firehose:[a-z0-9-]+:\d{12}:deliverystream\/amazon-apigateway-)/;

export const accessLogSchema = optionsOf<AccessLogOptions>()({
  destinationArn: textOption(
    LOG_DESTINATION,
    "the ARN of a log group, or of a Firehose stream with a name that begins with amazon-apigateway-",
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

/** Returns a copy of a record with its entries sorted by key. */
export function sorted(entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/**
 * Checks that domains fit the region of the API and each other, and returns them as a frozen list.
 *
 * @throws ConfigurationError for a certificate in another region or partition, for a domain that is
 *   listed twice, and for two certificates of one domain
 */
export function checkDomains(
  where: string,
  given: Domains,
  region: string,
): readonly Required<DomainOptions>[] {
  const domains = [given].flat() as readonly Required<DomainOptions>[];
  for (const { certificateArn } of domains) {
    const [, partition, , certificateRegion] = certificateArn.split(":");
    check(
      where,
      partition === partitionOf(region),
      `domain.certificateArn is in partition ${partition}, but ${region} is in ${partitionOf(region)}. Use a certificate of the region ${region}`,
    );
    check(
      where,
      certificateRegion === region,
      `domain.certificateArn is in ${certificateRegion}, but the certificate must be in ${region}, where the API is. Create a certificate there`,
    );
  }
  const addresses = domains.map(domainAddress);
  const duplicate = addresses.find((address, index) => addresses.indexOf(address) !== index);
  check(where, duplicate === undefined, `domain contains ${duplicate} twice. Remove one of them`);
  for (const { name, certificateArn } of domains) {
    const other = domains.find((each) => each.name === name && each.certificateArn !== certificateArn);
    check(
      where,
      other === undefined,
      `domain ${name} has two certificates, but can have only one. Use the same certificateArn in both entries`,
    );
  }
  return Object.freeze(domains.map((domain) => Object.freeze(domain)));
}

/** Returns the address of a domain without its scheme, such as `ws.example.com/chat`. */
export function domainAddress({ name, mappingKey }: Pick<DomainOptions, "name" | "mappingKey">): string {
  return [name, mappingKey].filter(Boolean).join("/");
}

/**
 * Returns the account of a gateway's API. It is taken from the option, from the first certificate,
 * from the access log, or from the functions, in this order.
 *
 * @returns undefined if nothing names an account. No function permission needs one then.
 * @throws ConfigurationError if the functions are in several accounts and nothing else names one
 */
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
    `its functions are in the accounts ${accounts.join(" and ")}, so the account of the API is unknown. Add it: account: "…"`,
  );
  return accounts[0];
}

/**
 * Checks the region of an access log, and returns the log with the ARN in the form that AWS
 * accepts.
 *
 * @throws ConfigurationError if the log is in another region than the API
 */
export function checkLog(
  where: string,
  log: Required<AccessLogOptions>,
  region: string,
): Required<AccessLogOptions> {
  // The AWS listings end the ARN of a log group with `:*`, but AWS does not accept that form.
  const destinationArn = log.destinationArn.replace(/:\*$/, "");
  const logRegion = destinationArn.split(":")[3];
  check(
    where,
    logRegion === region,
    `accessLog.destinationArn is in ${logRegion}, but the log must be in ${region}, where the API is. Use a log of that region`,
  );
  return Object.freeze({ destinationArn, format: log.format });
}
