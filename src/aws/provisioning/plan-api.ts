import {
  type Api,
  CreateApiCommand,
  type CreateApiCommandInput,
  DeleteApiCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateApiCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError, ProvisioningError } from "../../errors.ts";
import { gatewayArn, RECORD_TAG } from "../names.ts";
import type { ControlPlane } from "./control-plane.ts";
import { findCreatedApi } from "./find-api.ts";
import { type Comparison, differences, entryDifferences, type Step } from "./plan.ts";
import { creatingEndpoint, isBeingMade, isServing } from "./recorded.ts";

/** Plans the API and its tags. */
export function planApi({ definition, desired, actual, found, record }: Comparison): readonly Step[] {
  const { api, tags } = desired;
  if (!found) {
    const { name, stage, replies, region } = definition;
    const noted = { name, stage, replies, endpoint: creatingEndpoint(region) };
    if (record && record.apiId === null && isServing(record)) {
      throw new ConfigurationError(
        `Gateway "${name}" was registered with ${record.endpoint}, but no API at AWS has the tags of that record. Run: npx sallyport gateway import "${name}" <id of its API>`,
      );
    }
    const note: Step = {
      action: record ? "change" : "create",
      what: "note in the database that the API is being made",
      details: [],
      run: async (context) => {
        // The tags of the following resources contain this id.
        context.recordId = (await context.gateways.register(noted)).id;
      },
    };
    const create: Step = {
      action: "create",
      what: `API "${api.Name}"`,
      details: [`RouteSelectionExpression: ${api.RouteSelectionExpression}`],
      run: async (context) => {
        // The API is created with its tags, so the next run finds it if this one is interrupted.
        const Tags = { ...tags, [RECORD_TAG]: context.recordId };
        const made = await createApi(context.plane, { ...api, ProtocolType: "WEBSOCKET", Tags });
        context.apiId = made.ApiId ?? "";
        context.apiEndpoint = made.ApiEndpoint ?? "";
        // A new API is missing from the list of APIs for a time.
        await context.gateways.register({ ...noted, apiId: context.apiId });
      },
    };
    return isBeingMade(record) ? [create] : [note, create];
  }
  const steps: Step[] = actual.duplicates.map(removeDuplicate);
  const { details, changes } = differences(found.api, api);
  if (details.length > 0) {
    steps.push({
      action: "change",
      what: `API "${found.api.Name}"`,
      details,
      run: async ({ plane, apiId }) => {
        await plane.write(new UpdateApiCommand({ ApiId: apiId, ...changes }));
      },
    });
  }
  const desiredTags = record ? { ...tags, [RECORD_TAG]: record.id } : tags;
  return [...steps, ...planTags("API", `apis/${found.api.ApiId}`, found.api.Tags, desiredTags)];
}

/**
 * Creates an API. If AWS does not answer and no API appears, the call is repeated once.
 *
 * @throws ProvisioningError if AWS rejects the call, or answers neither of the calls
 */
async function createApi(
  plane: ControlPlane,
  input: CreateApiCommandInput,
  isLast = false,
): Promise<Pick<Api, "ApiId" | "ApiEndpoint">> {
  try {
    return await plane.write(new CreateApiCommand(input));
  } catch (error) {
    if (!(error instanceof ProvisioningError) || !error.isTransient || error.isThrottled) throw error;
    const created = await findCreatedApi(plane, input.Tags?.[RECORD_TAG] ?? "");
    if (created) return created;
    if (!isLast) return createApi(plane, input, true);
    throw new ProvisioningError(
      `${error.message} AWS may have created an API that it lists later. Wait a few minutes first.`,
    );
  }
}

/** Returns the step that removes a duplicate of the API. */
export function removeDuplicate(ApiId: string): Step {
  return {
    action: "remove",
    what: `API ${ApiId}`,
    details: ["it is an empty duplicate, which was created for this gateway too"],
    run: async ({ plane }) => {
      await plane.write(new DeleteApiCommand({ ApiId }));
    },
  };
}

/** Removes tags that only AWS can change, such as those of a stack. */
function withoutAwsOwn(tags: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(tags).filter(([name]) => !name.startsWith("aws:")));
}

/**
 * Plans the tags of a resource.
 *
 * @param path the path of the resource in its ARN
 */
export function planTags(
  what: string,
  path: string,
  actual: Readonly<Record<string, string>> | undefined,
  desired: Readonly<Record<string, string>>,
): readonly Step[] {
  const { names } = entryDifferences(withoutAwsOwn(actual), desired);
  if (names.length === 0) return [];
  const tag: Step = {
    action: "change",
    what: `tags of the ${what}`,
    details: names.map((name) => `${name}: ${actual?.[name] ?? "nothing"} → ${desired[name] ?? "nothing"}`),
    run: async ({ plane }) => {
      const ResourceArn = gatewayArn(plane.region, path);
      const removed = names.filter((name) => !(name in desired));
      if (removed.length > 0) await plane.write(new UntagResourceCommand({ ResourceArn, TagKeys: removed }));
      if (removed.length < names.length)
        await plane.write(new TagResourceCommand({ ResourceArn, Tags: { ...desired } }));
    },
  };
  return [tag];
}
