import { refuseUnknown } from "../options.ts";
import { partitionOf } from "../protocol/partitions.ts";
import { shown } from "../shown.ts";
import { check, isRecord, isText } from "./checks.ts";
import { TAG_PREFIX } from "./tags.ts";
import { accountOf, functionsOf, type Target } from "./targets.ts";

export interface DomainOptions {
  /** Such as `ws.example.com`. Its parent domain is where your cookies must be valid. */
  readonly name: string;
  /** Of a certificate for the name in AWS Certificate Manager, in the API's own region. */
  readonly certificateArn: string;
  /** The path below the name, such as `chat` for `wss://ws.example.com/chat`. Default: none. */
  readonly mappingKey?: string;
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
  readonly format?: string;
}

const DOMAIN_OPTIONS = new Set<string>([
  "name",
  "certificateArn",
  "mappingKey",
] satisfies (keyof DomainOptions)[]);
const THROTTLING_OPTIONS = new Set<string>(["ratePerSecond", "burst"] satisfies (keyof ThrottlingOptions)[]);
const LOG_OPTIONS = new Set<string>(["destinationArn", "format"] satisfies (keyof AccessLogOptions)[]);

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

export function checkedDomains(
  where: string,
  given: DomainOptions | readonly DomainOptions[],
  region: string,
): readonly DomainOptions[] {
  const list: readonly DomainOptions[] = Array.isArray(given) ? given : [given];
  const domains = list.map((domain) => checkedDomain(where, domain, region));
  const addresses = domains.map(domainAddress);
  const twice = addresses.find((address, index) => addresses.indexOf(address) !== index);
  check(where, twice === undefined, `domain has ${twice} twice`);
  for (const { name, certificateArn } of domains) {
    const other = domains.find((each) => each.name === name && each.certificateArn !== certificateArn);
    check(where, other === undefined, `domain ${name} has two certificates, and takes one`);
  }
  return Object.freeze(domains);
}

/** What comes after `wss://`. */
export function domainAddress({ name, mappingKey }: Pick<DomainOptions, "name" | "mappingKey">): string {
  return [name, mappingKey].filter(Boolean).join("/");
}

/** @throws ConfigurationError where a function's permission needs it, and nothing says which it is */
export function checkedAccount(
  where: string,
  given: string | undefined,
  parts: {
    readonly target: Target;
    readonly routes: ReadonlyMap<string, Target>;
    readonly domains: readonly DomainOptions[];
    readonly accessLog: AccessLogOptions | undefined;
  },
): string | undefined {
  check(
    where,
    given === undefined || isText(given, /^\d{12}$/),
    `account is 12 digits as text, not ${shown(given)}`,
  );
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

function checkedDomain(where: string, domain: DomainOptions, region: string): DomainOptions {
  refuseUnknown(`${where}: domain`, domain, DOMAIN_OPTIONS);
  const { name, certificateArn, mappingKey = "" } = domain;
  check(
    where,
    isText(name, /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$/),
    `domain.name is a name such as ws.example.com in small letters, not ${shown(name)}`,
  );
  const arn = isText(certificateArn, /^arn:/) ? certificateArn.split(":") : [];
  check(
    where,
    arn[2] === "acm" && arn[5]?.startsWith("certificate/") === true,
    `domain.certificateArn is the ARN of a certificate in ACM, not ${shown(certificateArn)}`,
  );
  check(
    where,
    arn[1] === partitionOf(region),
    `domain.certificateArn is of ${arn[1]}, and ${region} is of ${partitionOf(region)}`,
  );
  check(
    where,
    arn[3] === region,
    `domain.certificateArn is in ${arn[3]}; the certificate must be in ${region}, as the API is`,
  );
  check(
    where,
    isText(mappingKey, /^[A-Za-z0-9$_.+!*'()-]{0,300}$/),
    `domain.mappingKey is up to 300 letters, digits and $-_.+!*'(), not ${shown(mappingKey)}`,
  );
  check(
    where,
    !/^s?ping$/.test(mappingKey),
    `domain.mappingKey "${mappingKey}" is what API Gateway keeps for itself`,
  );
  return Object.freeze({ name, certificateArn, mappingKey });
}

export function checkedTags(
  where: string,
  tags: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  check(where, isRecord(tags), `tags is an object of keys and their values, not ${shown(tags)}`);
  const entries = Object.entries(tags);
  check(where, entries.length <= 48, `tags has ${entries.length}; at most 48`);
  for (const [key, value] of entries) {
    check(
      where,
      /^[\p{L}\p{Z}\p{N}_.:/=+@-]{1,128}$/u.test(key),
      `tags: ${shown(key)} is no key that AWS takes`,
    );
    check(
      where,
      !/^(aws:|sallyport:)/i.test(key),
      `tags: keys that begin with aws: are AWS's, with ${TAG_PREFIX} ours; call ${shown(key)} otherwise`,
    );
    check(
      where,
      isText(value, /^[\p{L}\p{Z}\p{N}_.:/=+@-]{0,256}$/u),
      `tags["${key}"] is no value that AWS takes`,
    );
  }
  return Object.freeze(Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1))));
}

export function checkedThrottling(where: string, throttling: ThrottlingOptions): ThrottlingOptions {
  refuseUnknown(`${where}: throttling`, throttling, THROTTLING_OPTIONS);
  const { ratePerSecond, burst } = throttling;
  check(
    where,
    Number.isFinite(ratePerSecond) && ratePerSecond > 0,
    "throttling.ratePerSecond is a number above 0: with 0 every connect would get 429",
  );
  check(where, Number.isInteger(burst) && burst >= 1, "throttling.burst is a whole number from 1");
  return Object.freeze({ ratePerSecond, burst });
}

export function checkedLog(where: string, log: AccessLogOptions, region: string): Required<AccessLogOptions> {
  refuseUnknown(`${where}: accessLog`, log, LOG_OPTIONS);
  const { format = LOG_FORMAT } = log;
  // AWS takes a log group's ARN without the `:*` that its own listings end with.
  const destinationArn = isText(log.destinationArn, /^/) ? log.destinationArn.replace(/:\*$/, "") : "";
  check(
    where,
    /^arn:aws[a-z-]*:(logs:[a-z0-9-]+:\d{12}:log-group:|firehose:[a-z0-9-]+:\d{12}:deliverystream\/amazon-apigateway-)/.test(
      destinationArn,
    ),
    `accessLog.destinationArn is the ARN of a log group, or of a Firehose stream named amazon-apigateway-…, not ${shown(log.destinationArn)}`,
  );
  check(
    where,
    destinationArn.split(":")[3] === region,
    `accessLog.destinationArn is in ${destinationArn.split(":")[3]}; the log must be in ${region}, as the API is`,
  );
  check(
    where,
    isText(format, /^[^\r\n]*$/),
    "accessLog.format is one line: CloudWatch keeps one event a line",
  );
  check(
    where,
    isText(format, /\$context\.(extendedR|r)equestId/) && format.length <= 3072,
    "accessLog.format is up to 3072 characters and has $context.requestId in it",
  );
  return Object.freeze({ destinationArn, format });
}
