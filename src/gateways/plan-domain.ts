import {
  CreateApiMappingCommand,
  CreateDomainNameCommand,
  DeleteApiMappingCommand,
  UpdateApiMappingCommand,
  UpdateDomainNameCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../errors.ts";
import type { ActualMapping } from "./actual.ts";
import { type Comparison, differences, type Step } from "./plan.ts";

/** The tag of a domain that we made: it goes with the last gateway that uses it. */
export const DOMAIN_TAG = "sallyport:domain";

/** The wanted domain and the way from it to the stage; and ways from elsewhere, which are wanted no more. */
export function planDomain(comparison: Comparison): readonly Step[] {
  const { definition, found } = comparison;
  const { stage } = definition;
  const ours = (found?.mappings ?? []).filter((mapping) => mapping.Stage === stage);
  const kept = keptMapping(comparison);
  const others = ours.filter((mapping) => mapping !== kept);
  return [...planName(comparison), ...planMapping(comparison, kept), ...others.map(removeMapping)];
}

function planName({ definition: { domain }, actual }: Comparison): readonly Step[] {
  if (!domain) return [];
  const configuration = {
    CertificateArn: domain.certificateArn,
    EndpointType: "REGIONAL",
    SecurityPolicy: "TLS_1_2",
  } as const;
  if (!actual.domain) {
    const create: Step = {
      action: "create",
      what: `domain ${domain.name}`,
      details: [domain.certificateArn],
      run: async ({ plane }) => {
        await plane.write(
          new CreateDomainNameCommand({
            DomainName: domain.name,
            DomainNameConfigurations: [configuration],
            Tags: { [DOMAIN_TAG]: domain.name },
          }),
        );
      },
    };
    return [create];
  }
  const there = actual.domain.DomainNameConfigurations?.[0]?.CertificateArn;
  if (there === domain.certificateArn) return [];
  if (actual.domain.Tags?.[DOMAIN_TAG] === undefined) {
    throw new ConfigurationError(
      `The domain ${domain.name} was not made here, and has the certificate ${there}. Write that one, or change it where the domain is kept.`,
    );
  }
  const change: Step = {
    action: "change",
    what: `domain ${domain.name}`,
    details: [`CertificateArn: ${there} → ${domain.certificateArn}`],
    run: async ({ plane }) => {
      await plane.write(
        new UpdateDomainNameCommand({ DomainName: domain.name, DomainNameConfigurations: [configuration] }),
      );
    },
  };
  return [change];
}

/** The mapping that is on the wanted domain already, with the wanted key or with another. */
function keptMapping({ definition: { domain }, found }: Comparison): ActualMapping | undefined {
  if (!domain) return undefined;
  const there = (found?.mappings ?? []).filter((mapping) => mapping.domain === domain.name);
  return there.find(({ ApiMappingKey = "" }) => ApiMappingKey === domain.mappingKey) ?? there[0];
}

function planMapping(
  { definition: { domain, stage }, actual }: Comparison,
  kept: ActualMapping | undefined,
): readonly Step[] {
  if (!domain) return [];
  const { name: DomainName, mappingKey = "" } = domain;
  const address = `${DomainName}/${mappingKey}`;
  const { ApiMappingKey: keptKey = "", Stage } = kept ?? {};
  if (kept && keptKey === mappingKey && Stage === stage) return [];
  const taken = actual.mappingsOfDomain.find(
    ({ ApiMappingKey = "", ApiMappingId }) =>
      ApiMappingKey === mappingKey && ApiMappingId !== kept?.ApiMappingId,
  );
  if (taken) {
    throw new ConfigurationError(
      `${address} leads to the API ${taken.ApiId} (${taken.Stage}) already. Give this gateway another domain.mappingKey, or remove that mapping first.`,
    );
  }
  if (kept) {
    const change: Step = {
      action: "change",
      what: `mapping of ${DomainName}`,
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
export function removeMapping({ domain, ApiMappingId, ApiMappingKey = "" }: ActualMapping): Step {
  return {
    action: "remove",
    what: `mapping of ${domain}/${ApiMappingKey}`,
    details: [],
    run: async ({ plane }) => {
      await plane.write(new DeleteApiMappingCommand({ DomainName: domain, ApiMappingId }));
    },
  };
}
