import {
  CreateApiMappingCommand,
  CreateDomainNameCommand,
  DeleteApiMappingCommand,
  DeleteDomainNameCommand,
  type DomainName,
  UpdateDomainNameCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../../errors.ts";
import { type DomainOptions, domainAddress } from "../definition-parts.ts";
import { DOMAIN_TAG } from "../names.ts";
import type { ActualMapping } from "./actual.ts";
import type { Comparison, Step } from "./plan.ts";

const DEFAULT_SECURITY_POLICY = "TLS_1_2";

/** Plans the domains of the definition and their mappings to the stage. */
export function planDomains(comparison: Comparison): readonly Step[] {
  const { domains } = comparison.definition;
  const names = [...new Map(domains.map((domain) => [domain.name, domain])).values()];
  return [
    ...names.flatMap((domain) => planName(comparison, domain)),
    ...domains.flatMap((domain) => planMapping(comparison, domain)),
  ];
}

/**
 * Plans the removal of mappings that the definition does not have, and of domains that only they
 * used. It is the last step, when no client is sent to these domains any more.
 */
export function planFormerDomains(comparison: Comparison): readonly Step[] {
  const { definition, found } = comparison;
  const desired = new Set(definition.domains.map(domainAddress));
  const former = (found?.mappings ?? []).filter(
    (mapping) => mapping.Stage === definition.stage && !desired.has(addressOf(mapping)),
  );
  return [
    ...former.map(removeMapping),
    ...unusedDomains(comparison, new Set(former))
      .filter(({ DomainName }) => !definition.domains.some(({ name }) => name === DomainName))
      .map(removeDomain),
  ];
}

function planName({ actual }: Comparison, domain: DomainOptions): readonly Step[] {
  const existing = actual.domains.find(({ DomainName }) => DomainName === domain.name);
  if (!existing) {
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
                SecurityPolicy: DEFAULT_SECURITY_POLICY,
              },
            ],
            Tags: { [DOMAIN_TAG]: recordId },
          }),
        );
      },
    };
    return [create];
  }
  const { CertificateArn, SecurityPolicy = DEFAULT_SECURITY_POLICY } =
    existing.DomainNameConfigurations?.[0] ?? {};
  if (CertificateArn === domain.certificateArn) return [];
  if (existing.Tags?.[DOMAIN_TAG] === undefined) {
    throw new ConfigurationError(
      `The domain ${domain.name} was not created by Sallyport, and has the certificate ${CertificateArn}. Use that certificateArn, or change the certificate where the domain is managed.`,
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
          // The security policy can have been made stricter at AWS.
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
  const existing = actual.mappings.find((mapping) => addressOf(mapping) === address);
  if (existing && existing.ApiId === found?.api.ApiId && existing.Stage === stage) return [];
  if (existing) {
    throw new ConfigurationError(
      `${address} is already mapped to the API ${existing.ApiId} (stage ${existing.Stage}). Set another domain.mappingKey for this gateway, or remove that mapping first.`,
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

/** Returns the step that removes a mapping. */
export function removeMapping(mapping: ActualMapping): Step {
  return {
    action: "remove",
    what: `mapping of ${addressOf(mapping)}`,
    details: ["new connections there are rejected, and open connections stay open"],
    run: async ({ plane }) => {
      const { domain: DomainName, ApiMappingId } = mapping;
      await plane.write(new DeleteApiMappingCommand({ DomainName, ApiMappingId }));
    },
  };
}

/**
 * Returns the domains that can be removed. Sallyport created them, for this record or with a
 * mapping of this API, and they keep no other mapping.
 *
 * @param going the mappings that are removed
 */
export function unusedDomains(
  { actual, record }: Comparison,
  going: ReadonlySet<ActualMapping>,
): readonly DomainName[] {
  return actual.domains.filter(({ DomainName, Tags }) => {
    const recordId = Tags?.[DOMAIN_TAG];
    const mappings = actual.mappings.filter(({ domain }) => domain === DomainName);
    const isOurs = recordId === record?.id || mappings.length > 0;
    return recordId !== undefined && isOurs && mappings.every((mapping) => going.has(mapping));
  });
}

/** Returns the step that removes a domain. */
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
