import { expect } from "vitest";
import { hashSecret } from "../../src/auth/gateways.ts";
import { type ProvisioningWorld, secretOf } from "./provisioning-world.ts";

/**
 * Checks what must hold whenever a stage serves: the app accepts every call, every answer reaches
 * the socket, and the Management API has the address in the database.
 */
export async function expectServed(world: ProvisioningWorld, where: string): Promise<void> {
  const record = await world.record();
  const { routes, integrations } = world.served();
  for (const { IntegrationType, RequestParameters } of integrations) {
    if (IntegrationType === "HTTP_PROXY")
      expect(record?.secretHashes, where).toContain(hashSecret(secretOf({ RequestParameters })));
  }
  const isAnswered = routes.find(({ RouteKey }) => RouteKey === "$default")?.responses.length === 1;
  expect(isAnswered || record?.replies === "push", `${where}: ${record?.replies}`).toBe(true);
  expect(isReached(world, record?.endpoint ?? ""), `${where}: ${record?.endpoint}`).toBe(true);
}

function isReached(world: ProvisioningWorld, endpoint: string): boolean {
  if (endpoint.includes(".execute-api.")) return world.served().api.DisableExecuteApiEndpoint !== true;
  const { host, pathname } = new URL(endpoint);
  const { Items = [] } = world.aws.apis.domains.GetApiMappings({ DomainName: host });
  return Items.some(
    ({ ApiMappingKey, ApiId }) => `/${ApiMappingKey}` === pathname && ApiId === world.apiId(),
  );
}
