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
import { gatewayArn } from "../arns.ts";
import { RECORD_TAG } from "../tags.ts";
import type { ControlPlane } from "./control-plane.ts";
import { madeNevertheless } from "./find-api.ts";
import { type Comparison, differences, entryDifferences, type Step } from "./plan.ts";
import { beingMade, isBeingMade, isServing } from "./recorded.ts";

/** The API itself, and its tags. */
export function planApi({ definition, desired, actual, found, record }: Comparison): readonly Step[] {
  const { api, tags } = desired;
  if (!found) {
    const { name, stage, replies, region } = definition;
    const noted = { name, stage, replies, endpoint: beingMade(region) };
    if (record && record.apiId === null && isServing(record)) {
      throw new ConfigurationError(
        `Gateway "${name}" was registered with ${record.endpoint}, and no API at AWS says that it is this one. Run: npx sallyport gateway import "${name}" <its API's id>`,
      );
    }
    const note: Step = {
      action: record ? "change" : "create",
      what: "note in the database that the API is being made",
      details: [],
      run: async (hand) => {
        // Whatever is made from now on says that it was made for this record.
        hand.recordId = (await hand.gateways.register(noted)).id;
      },
    };
    const create: Step = {
      action: "create",
      what: `API "${api.Name}"`,
      details: [`RouteSelectionExpression: ${api.RouteSelectionExpression}`],
      run: async (hand) => {
        // Our tags come with it, so that it is found whatever happens next.
        const Tags = { ...tags, [RECORD_TAG]: hand.recordId };
        const made = await createApi(hand.plane, { ...api, ProtocolType: "WEBSOCKET", Tags });
        hand.apiId = made.ApiId ?? "";
        hand.apiEndpoint = made.ApiEndpoint ?? "";
        // Lists show it after a while only.
        await hand.gateways.register({ ...noted, apiId: hand.apiId });
      },
    };
    return isBeingMade(record) ? [create] : [note, create];
  }
  const steps: Step[] = actual.twins.map(removeTwin);
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
  const wanted = record ? { ...tags, [RECORD_TAG]: record.id } : tags;
  return [...steps, ...planTags("API", `apis/${found.api.ApiId}`, found.api.Tags, wanted)];
}

/** Makes an API. Where that is not answered, nor seen to be made, it is tried once more. */
async function createApi(
  plane: ControlPlane,
  input: CreateApiCommandInput,
  isLast = false,
): Promise<Pick<Api, "ApiId" | "ApiEndpoint">> {
  try {
    return await plane.write(new CreateApiCommand(input));
  } catch (error) {
    if (!(error instanceof ProvisioningError) || !error.isPassing || error.isThrottled) throw error;
    const made = await madeNevertheless(plane, input.Tags?.[RECORD_TAG] ?? "");
    if (made) return made;
    if (!isLast) return createApi(plane, input, true);
    throw new ProvisioningError(`${error.message}. Whether an API was made shows later: run it again then.`);
  }
}

/** Of an API that was made twice. */
export function removeTwin(ApiId: string): Step {
  return {
    action: "remove",
    what: `API ${ApiId}`,
    details: ["it was made for this gateway as well, and has nothing in it"],
    run: async ({ plane }) => {
      await plane.write(new DeleteApiCommand({ ApiId }));
    },
  };
}

/** Tags that AWS itself has put there, such as those of a stack, stay: nobody else may touch them. */
function withoutAwsOwn(tags: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(tags).filter(([name]) => !name.startsWith("aws:")));
}

/** Tags of a resource. */
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
      const gone = names.filter((name) => !(name in desired));
      if (gone.length > 0) await plane.write(new UntagResourceCommand({ ResourceArn, TagKeys: gone }));
      if (gone.length < names.length)
        await plane.write(new TagResourceCommand({ ResourceArn, Tags: { ...desired } }));
    },
  };
  return [tag];
}
