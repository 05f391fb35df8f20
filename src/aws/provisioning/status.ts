import type { DomainName } from "@aws-sdk/client-apigatewayv2";
import type { GatewayDefinition } from "../define-gateway.ts";
import type { ActualApi } from "./actual.ts";
import { endpointOf, urlOf } from "./desired.ts";
import type { Comparison } from "./plan.ts";
import { isServing } from "./recorded.ts";
import type { Plan } from "./run.ts";

/** The state of a gateway at AWS. Its `steps` are what `apply` would do. */
export interface GatewayStatus extends Plan {
  /** AWS's id of the API, or null if there is none. */
  readonly apiId: string | null;
  /** The URL that browsers connect to, or null if there is no API. */
  readonly url: string | null;
  /** The base URL of the Management API, or null if there is no API. */
  readonly endpoint: string | null;
  /** The time of the current deployment, or null if there is none. */
  readonly deployedAt: Date | null;
  /** The number of accepted secrets. It is two during a rotation. */
  readonly secrets: number;
  /** The DNS records to create, for each domain of the definition that exists at AWS. */
  readonly dns: readonly DnsRecord[];
  /**
   * Settings at AWS that a definition cannot contain, and that `apply` does not change, such as
   * `route $connect: AuthorizationType AWS_IAM`.
   */
  readonly kept: readonly string[];
  /** The error that prevents a plan, or null if there is none. */
  readonly problem: string | null;
}

/** The DNS record of a custom domain. */
export interface DnsRecord {
  /** The custom domain, such as `ws.example.com`. */
  readonly name: string;
  /**
   * The target of the record. Create a CNAME record, or an alias record if the name is the apex of
   * its zone.
   */
  readonly target: string;
  /** The id of the target's hosted zone, for an alias record in Route 53. */
  readonly hostedZoneId: string;
  /**
   * The status of the domain as returned by AWS: `AVAILABLE`, `UPDATING`,
   * `PENDING_CERTIFICATE_REIMPORT`, …
   */
  readonly status: string;
}

/** The status of a gateway of which nothing was read. */
export const EMPTY_STATUS: Omit<GatewayStatus, "steps" | "problem"> = Object.freeze({
  apiId: null,
  url: null,
  endpoint: null,
  deployedAt: null,
  secrets: 0,
  dns: [],
  kept: [],
});

/** Returns the status of a gateway, without the steps and the problem. */
export function statusOf({
  definition,
  actual,
  found,
  record,
}: Comparison): Omit<GatewayStatus, "steps" | "problem"> {
  const endpoint = found && (isServing(record) ? record.endpoint : endpointOf(definition, found.api, record));
  return {
    apiId: found?.api.ApiId ?? null,
    url: found ? urlOf(definition, found.api) : null,
    endpoint: endpoint ?? null,
    deployedAt: found?.deployment?.CreatedDate ?? null,
    secrets: record?.secretHashes.length ?? 0,
    dns: dnsOf(definition, actual.domains),
    kept: found ? keptOf(definition, found) : [],
  };
}

function dnsOf({ domains }: GatewayDefinition, existing: readonly DomainName[]): readonly DnsRecord[] {
  const names = [...new Set(domains.map(({ name }) => name))];
  return names.flatMap((name) => {
    const domain = existing.find(({ DomainName }) => DomainName === name);
    const {
      ApiGatewayDomainName: target,
      HostedZoneId: hostedZoneId = "",
      DomainNameStatus: status = "",
    } = domain?.DomainNameConfigurations?.[0] ?? {};
    return target === undefined ? [] : [{ name, target, hostedZoneId, status }];
  });
}

function keptOf({ stage }: GatewayDefinition, { routes, stages }: ActualApi): readonly string[] {
  const ofRoutes = [...routes.values()].flatMap(
    ({ RouteKey, AuthorizationType = "NONE", ApiKeyRequired }) => [
      ...(AuthorizationType === "NONE" ? [] : [`route ${RouteKey}: AuthorizationType ${AuthorizationType}`]),
      ...(ApiKeyRequired ? [`route ${RouteKey}: ApiKeyRequired`] : []),
    ],
  );
  const certificate = stages.get(stage)?.ClientCertificateId;
  return certificate ? [...ofRoutes, `stage ${stage}: ClientCertificateId ${certificate}`] : ofRoutes;
}
