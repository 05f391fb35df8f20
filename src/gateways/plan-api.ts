import {
  CreateApiCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateApiCommand,
} from "@aws-sdk/client-apigatewayv2";
import { gatewayArn } from "./arns.ts";
import { type Comparison, differences, entryDifferences, type Step } from "./plan.ts";

/** Where an API is reached that is not there yet. */
export const BEING_MADE = "https://being-made.invalid";

/** The API itself, and its tags. */
export function planApi({ definition, desired, found, record }: Comparison): readonly Step[] {
  const { api, tags } = desired;
  if (!found) {
    const { name, stage, replies } = definition;
    const note: Step = {
      action: record ? "change" : "create",
      what: "note in the database that the API is being made",
      details: [],
      run: async ({ gateways }) => {
        // Without it, an API with our tag might be another environment's.
        await gateways.register({ name, stage, replies, endpoint: BEING_MADE });
      },
    };
    const create: Step = {
      action: "create",
      what: `API "${api.Name}"`,
      details: [`RouteSelectionExpression: ${api.RouteSelectionExpression}`],
      run: async (hand) => {
        // Our tag comes with it, so that it is found whatever happens next.
        const made = await hand.plane.write(
          new CreateApiCommand({ ...api, ProtocolType: "WEBSOCKET", Tags: { ...tags } }),
        );
        hand.apiId = made.ApiId ?? "";
        hand.apiEndpoint = made.ApiEndpoint ?? "";
      },
    };
    return record?.endpoint === BEING_MADE ? [create] : [note, create];
  }
  const steps: Step[] = [];
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
  return [...steps, ...planTags("API", `apis/${found.api.ApiId}`, found.api.Tags, tags)];
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
