import type * as Aws from "@aws-sdk/client-apigatewayv2";
import * as check from "./checks.ts";
import { badRequest, conflict } from "./operations.ts";
import { found, newId, paged } from "./resources.ts";

interface DomainRecord {
  domain: Aws.DomainName;
  readonly mappings: Map<string, Aws.ApiMapping>;
}

/** Custom domains and their mappings to stages in the control plane of API Gateway. */
export class Domains {
  readonly #region: string;
  readonly #pageSize: number;
  readonly #checkStage: (apiId: string | undefined, stage: string | undefined) => void;
  readonly #domains = new Map<string, DomainRecord>();

  /** @param checkStage throws if an API has no such stage */
  constructor(
    region: string,
    pageSize: number,
    checkStage: (apiId: string | undefined, stage: string | undefined) => void,
  ) {
    this.#region = region;
    this.#pageSize = pageSize;
    this.#checkStage = checkStage;
  }

  /**
   * Returns a domain by its name.
   *
   * @throws AwsError if it does not exist
   */
  domain(name: string): Aws.DomainName {
    return found(this.#domains, name, "domain name").domain;
  }

  /** @throws AwsError if a domain is mapped to an API, or to one stage of it */
  rejectMapped(apiId: string | undefined, stage: string | undefined): void {
    for (const { domain, mappings } of this.#domains.values()) {
      for (const mapping of mappings.values()) {
        if (mapping.ApiId === apiId && (stage === undefined || mapping.Stage === stage))
          throw badRequest(`Remove the API mappings of ${domain.DomainName} first`);
      }
    }
  }

  CreateDomainName(input: Aws.CreateDomainNameRequest): Aws.CreateDomainNameResponse {
    const { DomainName = "" } = input;
    check.length("DomainName", DomainName, 1, 512);
    if (this.#domains.has(DomainName)) throw conflict("The domain name you provided already exists.");
    check.tags(input.Tags);
    const configurations = (input.DomainNameConfigurations ?? []).map((configuration) => {
      checkDomainConfiguration(configuration, this.#region);
      return {
        ApiGatewayDomainName: `d-${newId(10)}.execute-api.${this.#region}.amazonaws.com`,
        HostedZoneId: "ZLY8HYME6SFDD",
        DomainNameStatus: "AVAILABLE" as const,
        IpAddressType: "ipv4" as const,
        ...configuration,
      };
    });
    if (configurations.length !== 1) throw badRequest("Exactly one domain name configuration is needed");
    const domain: Aws.DomainName = {
      DomainName,
      DomainNameConfigurations: configurations,
      ...(input.Tags === undefined ? {} : { Tags: input.Tags }),
    };
    this.#domains.set(DomainName, { domain, mappings: new Map() });
    return domain;
  }

  GetDomainName({ DomainName }: Aws.GetDomainNameRequest): Aws.GetDomainNameResponse {
    return found(this.#domains, DomainName, "domain name").domain;
  }

  GetDomainNames(input: Aws.GetDomainNamesRequest): Aws.GetDomainNamesResponse {
    return paged(
      [...this.#domains.values()].map(({ domain }) => domain),
      this.#pageSize,
      input,
    );
  }

  UpdateDomainName(input: Aws.UpdateDomainNameRequest): Aws.UpdateDomainNameResponse {
    const record = found(this.#domains, input.DomainName, "domain name");
    const [configuration = {}] = input.DomainNameConfigurations ?? [];
    checkDomainConfiguration(configuration, this.#region);
    const [before] = record.domain.DomainNameConfigurations ?? [];
    record.domain = { ...record.domain, DomainNameConfigurations: [{ ...before, ...configuration }] };
    return record.domain;
  }

  DeleteDomainName({ DomainName }: Aws.DeleteDomainNameRequest): void {
    const { mappings } = found(this.#domains, DomainName, "domain name");
    if (mappings.size > 0) throw badRequest("Domain names with API mappings cannot be deleted");
    this.#domains.delete(DomainName ?? "");
  }

  CreateApiMapping(input: Aws.CreateApiMappingRequest): Aws.CreateApiMappingResponse {
    const { mappings } = found(this.#domains, input.DomainName, "domain name");
    const { ApiMappingKey = "", ApiId, Stage } = input;
    this.#checkMapping(ApiMappingKey, ApiId, Stage);
    for (const mapping of mappings.values())
      if (mapping.ApiMappingKey === ApiMappingKey)
        throw conflict("ApiMapping key already exists for this domain name");
    const mapping: Aws.ApiMapping = { ApiMappingId: newId(6), ApiId, ApiMappingKey, Stage };
    mappings.set(mapping.ApiMappingId ?? "", mapping);
    return mapping;
  }

  GetApiMappings(input: Aws.GetApiMappingsRequest): Aws.GetApiMappingsResponse {
    const { mappings } = found(this.#domains, input.DomainName, "domain name");
    return paged([...mappings.values()], this.#pageSize, input);
  }

  UpdateApiMapping(input: Aws.UpdateApiMappingRequest): Aws.UpdateApiMappingResponse {
    const { mappings } = found(this.#domains, input.DomainName, "domain name");
    const mapping = found(mappings, input.ApiMappingId, "ApiMapping");
    const { ApiMappingKey = mapping.ApiMappingKey, Stage = mapping.Stage } = input;
    this.#checkMapping(ApiMappingKey ?? "", input.ApiId, Stage);
    const next = { ...mapping, ApiId: input.ApiId, ApiMappingKey, Stage };
    mappings.set(mapping.ApiMappingId ?? "", next);
    return next;
  }

  DeleteApiMapping({ DomainName, ApiMappingId }: Aws.DeleteApiMappingRequest): void {
    const { mappings } = found(this.#domains, DomainName, "domain name");
    found(mappings, ApiMappingId, "ApiMapping");
    mappings.delete(ApiMappingId ?? "");
  }

  #checkMapping(key: string, apiId: string | undefined, stage: string | undefined): void {
    check.form("ApiMappingKey", key, /^[A-Za-z0-9$\-_.+!*'()/]{0,300}$/);
    this.#checkStage(apiId, stage);
  }
}

function checkDomainConfiguration(configuration: Aws.DomainNameConfiguration, region: string): void {
  check.oneOf("EndpointType", configuration.EndpointType, ["REGIONAL"]);
  check.oneOf("SecurityPolicy", configuration.SecurityPolicy, ["TLS_1_2"]);
  check.form(
    "certificate of this region",
    configuration.CertificateArn ?? "",
    new RegExp(`^arn:aws[a-z-]*:acm:${region}:\\d{12}:certificate/`),
  );
  const { HostedZoneId } = configuration;
  if (HostedZoneId !== undefined) throw badRequest("HostedZoneId is the endpoint's own and cannot be given");
}
