import {
  CreateApiMappingCommand,
  CreateDomainNameCommand,
  DeleteApiMappingCommand,
  DeleteDomainNameCommand,
  type DomainName,
  UpdateApiMappingCommand,
  UpdateDomainNameCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../errors.ts";
import { type DomainOptions, domainAddress } from "../gateways/definition.ts";
import type { ActualMapping } from "./actual.ts";
import { type Comparison, differences, type Step } from "./plan.ts";

/** The tag of a domain that we made, with the name of the gateway for which: it goes with the last gateway that uses it. */
export const DOMAIN_TAG = "sallyport:domain";

const LEAST_SECURITY = "TLS_1_2";

/** Each wanted domain and the way from it to the stage; then ways from elsewhere, which are wanted no more, and domains that only they used. */
export function planDomains(comparison: Comparison): readonly Step[] {
  const { definition, found } = comparison;
  const names = [...new Map(definition.domains.map((domain) => [domain.name, domain])).values()];
  const kept = new Map(definition.domains.map((domain) => [domain, keptMapping(comparison, domain)]));
  const keptOnes = new Set(kept.values());
  const others = (found?.mappings ?? []).filter(
    (mapping) => mapping.Stage === definition.stage && !keptOnes.has(mapping),
  );
  return [
    ...names.flatMap((domain) => planName(comparison, domain)),
    ...definition.domains.flatMap((domain) => planMapping(comparison, domain, kept.get(domain))),
    ...others.map(removeMapping),
    ...unusedDomains(comparison, new Set(others))
      .filter(({ DomainName = "" }) => !names.some(({ name }) => name === DomainName))
      .map(removeDomain),
  ];
}

function planName({ definition, actual }: Comparison, domain: DomainOptions): readonly Step[] {
  const there = actual.domains.find(({ DomainName }) => DomainName === domain.name);
  if (!there) {
    const create: Step = {
      action: "create",
      what: `domain ${domain.name}`,
      details: [domain.certificateArn],
      run: async ({ plane }) => {
        await plane.write(
          new CreateDomainNameCommand({
            DomainName: domain.name,
            DomainNameConfigurations: [
              {
                CertificateArn: domain.certificateArn,
                EndpointType: "REGIONAL",
                SecurityPolicy: LEAST_SECURITY,
              },
            ],
            Tags: { [DOMAIN_TAG]: definition.name },
          }),
        );
      },
    };
    return [create];
  }
  const { CertificateArn, SecurityPolicy = LEAST_SECURITY } = there.DomainNameConfigurations?.[0] ?? {};
  if (CertificateArn === domain.certificateArn) return [];
  if (there.Tags?.[DOMAIN_TAG] === undefined) {
    throw new ConfigurationError(
      `The domain ${domain.name} was not made here, and has the certificate ${CertificateArn}. Write that one, or change it where the domain is kept.`,
    );
  }
  const change: Step = {
    action: "change",
    what: `domain ${domain.name}`,
    details: [`CertificateArn: ${CertificateArn} → ${domain.certificateArn}`],
    run: async ({ plane }) => {
      await plane.write(
        new UpdateDomainNameCommand({
          DomainName: domain.name,
          // As strict as it is.
          DomainNameConfigurations: [
            { CertificateArn: domain.certificateArn, EndpointType: "REGIONAL", SecurityPolicy },
          ],
        }),
      );
    },
  };
  return [change];
}

/** The mapping that a wanted address has already; or one on its domain that is to become it, as no other address wants it. */
function keptMapping(
  { definition: { domains }, found }: Comparison,
  domain: DomainOptions,
): ActualMapping | undefined {
  const there = (found?.mappings ?? []).filter((mapping) => mapping.domain === domain.name);
  const exact = there.find((mapping) => addressOf(mapping) === domainAddress(domain));
  if (exact) return exact;
  const here = domains.filter(({ name }) => name === domain.name).map(domainAddress);
  const free = there.filter((mapping) => !here.includes(addressOf(mapping)));
  const waiting = here.filter((address) => !there.some((mapping) => addressOf(mapping) === address));
  return free[waiting.indexOf(domainAddress(domain))];
}

function addressOf({ domain, ApiMappingKey }: ActualMapping): string {
  return domainAddress({ name: domain, mappingKey: ApiMappingKey ?? "" });
}

function planMapping(
  { definition: { stage }, actual }: Comparison,
  domain: DomainOptions,
  kept: ActualMapping | undefined,
): readonly Step[] {
  const { name: DomainName, mappingKey = "" } = domain;
  const address = domainAddress(domain);
  if (kept && addressOf(kept) === address && kept.Stage === stage) return [];
  const taken = actual.mappings.find(
    (mapping) => addressOf(mapping) === address && mapping.ApiMappingId !== kept?.ApiMappingId,
  );
  if (taken) {
    throw new ConfigurationError(
      `${address} leads to the API ${taken.ApiId} (${taken.Stage}) already. Give this gateway another domain.mappingKey, or remove that mapping first.`,
    );
  }
  if (kept) {
    const change: Step = {
      action: "change",
      what: `mapping of ${addressOf(kept)}`,
      details: differences(kept, { ApiMappingKey: mappingKey, Stage: stage }).details,
      run: async ({ plane, apiId }) => {
        await plane.write(
          new UpdateApiMappingCommand({
            DomainName,
            ApiMappingId: kept.ApiMappingId,
            ApiId: apiId,
            Stage: stage,
            ApiMappingKey: mappingKey,
          }),
        );
      },
    };
    return [change];
  }
  const create: Step = {
    action: "create",
    what: `mapping of ${address}`,
    details: [],
    run: async ({ plane, apiId }) => {
      await plane.write(
        new CreateApiMappingCommand({ DomainName, ApiId: apiId, Stage: stage, ApiMappingKey: mappingKey }),
      );
    },
  };
  return [create];
}

/** A way to an API that nobody is to take any more. */
export function removeMapping(mapping: ActualMapping): Step {
  return {
    action: "remove",
    what: `mapping of ${addressOf(mapping)}`,
    details: ["whoever connects there is refused from then on; open sockets stay"],
    run: async ({ plane }) => {
      const { domain: DomainName, ApiMappingId } = mapping;
      await plane.write(new DeleteApiMappingCommand({ DomainName, ApiMappingId }));
    },
  };
}

/** Domains that we made, which are this gateway's or lead to it by what goes now, and from which nothing else leads anywhere. */
export function unusedDomains(
  { definition, actual }: Comparison,
  going: ReadonlySet<ActualMapping>,
): readonly DomainName[] {
  return actual.domains.filter(({ DomainName, Tags }) => {
    const madeFor = Tags?.[DOMAIN_TAG];
    const mappings = actual.mappings.filter(({ domain }) => domain === DomainName);
    const isOurs =
      madeFor === definition.name ||
      definition.domains.some(({ name }) => name === DomainName) ||
      mappings.some((mapping) => going.has(mapping));
    return madeFor !== undefined && isOurs && mappings.every((mapping) => going.has(mapping));
  });
}

export function removeDomain({ DomainName }: DomainName): Step {
  return {
    action: "remove",
    what: `domain ${DomainName}`,
    details: [],
    run: async ({ plane }) => {
      await plane.write(new DeleteDomainNameCommand({ DomainName }));
    },
  };
}
