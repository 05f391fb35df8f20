import {
  CreateApiMappingCommand,
  CreateDomainNameCommand,
  DeleteApiMappingCommand,
  DeleteDomainNameCommand,
  type DomainName,
  UpdateDomainNameCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../../errors.ts";
import type { DomainOptions } from "../definition-parts.ts";
import { domainAddress } from "../definition-parts.ts";
import { DOMAIN_TAG } from "../tags.ts";
import type { ActualMapping } from "./actual.ts";
import type { Comparison, Step } from "./plan.ts";

const LEAST_SECURITY = "TLS_1_2";

/** Each wanted domain, and the way from it to the stage. */
export function planDomains(comparison: Comparison): readonly Step[] {
  const { domains } = comparison.definition;
  const names = [...new Map(domains.map((domain) => [domain.name, domain])).values()];
  return [
    ...names.flatMap((domain) => planName(comparison, domain)),
    ...domains.flatMap((domain) => planMapping(comparison, domain)),
  ];
}

/** Ways from elsewhere to the stage, which are wanted no more, and domains that only they used: last, when nobody is sent there any more. */
export function planFormerDomains(comparison: Comparison): readonly Step[] {
  const { definition, found } = comparison;
  const wanted = new Set(definition.domains.map(domainAddress));
  const former = (found?.mappings ?? []).filter(
    (mapping) => mapping.Stage === definition.stage && !wanted.has(addressOf(mapping)),
  );
  return [
    ...former.map(removeMapping),
    ...unusedDomains(comparison, new Set(former))
      .filter(({ DomainName }) => !definition.domains.some(({ name }) => name === DomainName))
      .map(removeDomain),
  ];
}

function planName({ actual }: Comparison, domain: DomainOptions): readonly Step[] {
  const there = actual.domains.find(({ DomainName }) => DomainName === domain.name);
  if (!there) {
    const create: Step = {
      action: "create",
      what: `domain ${domain.name}`,
      details: [domain.certificateArn],
      run: async ({ plane, recordId }) => {
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
            Tags: { [DOMAIN_TAG]: recordId },
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

function addressOf({ domain, ApiMappingKey }: ActualMapping): string {
  return domainAddress({ name: domain, mappingKey: ApiMappingKey ?? "" });
}

function planMapping(
  { definition: { stage }, actual, found }: Comparison,
  domain: DomainOptions,
): readonly Step[] {
  const { name: DomainName, mappingKey = "" } = domain;
  const address = domainAddress(domain);
  const there = actual.mappings.find((mapping) => addressOf(mapping) === address);
  if (there && there.ApiId === found?.api.ApiId && there.Stage === stage) return [];
  if (there) {
    throw new ConfigurationError(
      `${address} leads to the API ${there.ApiId} (${there.Stage}) already. Give this gateway another domain.mappingKey, or remove that mapping first.`,
    );
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

/** Domains that we made, for our record or with a mapping that goes now, and from which nothing else leads anywhere. */
export function unusedDomains(
  { actual, record }: Comparison,
  going: ReadonlySet<ActualMapping>,
): readonly DomainName[] {
  return actual.domains.filter(({ DomainName, Tags }) => {
    const madeFor = Tags?.[DOMAIN_TAG];
    const mappings = actual.mappings.filter(({ domain }) => domain === DomainName);
    const isOurs = madeFor === record?.id || mappings.length > 0;
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
