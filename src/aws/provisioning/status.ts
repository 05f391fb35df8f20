import type { DomainName } from "@aws-sdk/client-apigatewayv2";
import type { GatewayDefinition } from "../define-gateway.ts";
import type { ActualApi } from "./actual.ts";
import { endpointOf, urlOf } from "./desired.ts";
import type { Comparison } from "./plan.ts";
import { isServing } from "./recorded.ts";
import type { Plan } from "./run.ts";

/** How a gateway stands. */
export interface GatewayStatus extends Plan {
  /** AWS's id of the API; null where there is none. */
  readonly apiId: string | null;
  /** Where browsers connect to. */
  readonly url: string | null;
  /** Base of the Management API. */
  readonly endpoint: string | null;
  /** When what the stage serves was deployed. */
  readonly deployedAt: Date | null;
  /** How many secrets are accepted: two during a rotation. */
  readonly secrets: number;
  /** What is to be written into DNS, of each domain that is wanted and there. */
  readonly dns: readonly DnsRecord[];
  /** What somebody has set at AWS of which a definition says nothing, and which stays: `route $connect: AuthorizationType AWS_IAM`. */
  readonly kept: readonly string[];
  /** Why nothing can be planned; null where it can. */
  readonly problem: string | null;
}

/** A record that leads from a domain of one's own to API Gateway. */
export interface DnsRecord {
  readonly name: string;
  /** A CNAME to it, or an alias where the name is the zone's own. */
  readonly target: string;
  /** The hosted zone of the target, which an alias in Route 53 takes. */
  readonly hostedZoneId: string;
  /** Whether the domain is served, and what it waits for where it is not, in AWS's words: `AVAILABLE`, `UPDATING`, `PENDING_CERTIFICATE_REIMPORT`, … */
  readonly status: string;
}

/** Of what nothing is known. */
export const NOTHING: Omit<GatewayStatus, "steps" | "problem"> = Object.freeze({
  apiId: null,
  url: null,
  endpoint: null,
  deployedAt: null,
  secrets: 0,
  dns: [],
  kept: [],
});

/** How a gateway stands, but for what is to be done about it. */
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

function dnsOf({ domains }: GatewayDefinition, there: readonly DomainName[]): readonly DnsRecord[] {
  const names = [...new Set(domains.map(({ name }) => name))];
  return names.flatMap((name) => {
    const domain = there.find(({ DomainName }) => DomainName === name);
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
