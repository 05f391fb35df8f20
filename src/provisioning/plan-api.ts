import {
  type Api,
  CreateApiCommand,
  DeleteApiCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateApiCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError, ControlPlaneError } from "../errors.ts";
import { RECORD_TAG } from "../gateways/definition.ts";
import { gatewayArn } from "./arns.ts";
import type { ControlPlane } from "./control-plane.ts";
import { listApis } from "./find-api.ts";
import { type Comparison, differences, entryDifferences, type Step } from "./plan.ts";

/** Where an API is reached that is not there yet. */
export const BEING_MADE = "https://being-made.invalid";

/** How often, and how long, an API is looked for that may have been made, in milliseconds. */
const SHOWN_PAUSE_MS = 2000;
const SHOWN_PATIENCE_MS = 30_000;

/** The API itself, and its tags. */
export function planApi({ definition, desired, actual, found, record }: Comparison): readonly Step[] {
  const { api, tags } = desired;
  if (!found) {
    const { name, stage, replies } = definition;
    if (record && record.apiId === null && record.endpoint !== BEING_MADE) {
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
        const { id } = await hand.gateways.register({ name, stage, replies, endpoint: BEING_MADE });
        hand.recordId = id;
      },
    };
    const create: Step = {
      action: "create",
      what: `API "${api.Name}"`,
      details: [`RouteSelectionExpression: ${api.RouteSelectionExpression}`],
      run: async (hand) => {
        // Our tags come with it, so that it is found whatever happens next.
        const Tags = { ...tags, [RECORD_TAG]: hand.recordId };
        const { plane } = hand;
        const made = await plane
          .write(new CreateApiCommand({ ...api, ProtocolType: "WEBSOCKET", Tags }))
          .catch((error) => madeNevertheless(plane, hand.recordId, error));
        hand.apiId = made.ApiId ?? "";
        hand.apiEndpoint = made.ApiEndpoint ?? "";
      },
    };
    return record?.endpoint === BEING_MADE ? [create] : [note, create];
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

/** The API of a call whose outcome nobody knows, which AWS may show only after a while. @throws `error` where it does not */
async function madeNevertheless(plane: ControlPlane, recordId: string, error: unknown): Promise<Api> {
  const isUnknown = error instanceof ControlPlaneError && error.isPassing && !error.isThrottled;
  for (let waitedMs = 0; isUnknown && waitedMs < SHOWN_PATIENCE_MS; waitedMs += SHOWN_PAUSE_MS) {
    await plane.wait(SHOWN_PAUSE_MS);
    const made = (await listApis(plane)).find(({ Tags }) => Tags?.[RECORD_TAG] === recordId);
    if (made) return made;
  }
  throw error;
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
