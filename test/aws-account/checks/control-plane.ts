import {
  CreateDeploymentCommand,
  CreateStageCommand,
  DeleteStageCommand,
  GetStageCommand,
  type RouteSettings,
} from "@aws-sdk/client-apigatewayv2";
import type { Bench } from "../bench.ts";
import type { Check } from "../check.ts";
import { PROBE_ROUTE } from "../names.ts";
import { pause, poll } from "../timing.ts";

/** A stage of which every request is throttled. Source: see the fact `throttled-connect`. */
const NOTHING: RouteSettings = { ThrottlingBurstLimit: 0, ThrottlingRateLimit: 0 };
/** Time in which a new stage must be served, in milliseconds. AWS documents no limit. */
const STAGE_MS = 60_000;
/** Time in which a message that is throttled would be answered, in milliseconds. */
const SILENCE_MS = 5000;
/** AWS accepts a deployment each 5 s. */
const DEPLOYMENT_MS = 6000;

/** Creates a stage with the same deployment, and passes its URL. Removes the stage afterwards. */
async function withStage<T>(
  { gateways, environment }: Bench,
  StageName: string,
  settings: { DefaultRouteSettings: RouteSettings } | { RouteSettings: Record<string, RouteSettings> },
  work: (url: string) => Promise<T>,
): Promise<T> {
  const { apiId: ApiId, url } = environment;
  const served = new URL(url).pathname.slice(1);
  const { DeploymentId } = await gateways.send(new GetStageCommand({ ApiId, StageName: served }));
  await gateways.send(new CreateStageCommand({ ApiId, StageName, DeploymentId, ...settings }));
  try {
    return await work(new URL(`/${StageName}`, url).href);
  } finally {
    await gateways.send(new DeleteStageCommand({ ApiId, StageName }));
  }
}

/** Checks of throttling and of deployments. */
export const CONTROL_PLANE: readonly Check[] = [
  {
    fact: "throttled-connect",
    name: "a throttled connect is answered with 429",
    run: (bench) =>
      withStage(bench, "no-connects", { DefaultRouteSettings: NOTHING }, async (url) => {
        const probe = { kind: "status", status: 200 } as const;
        // A new stage is answered with 403 until it is served.
        const read = async () => {
          const status = await bench.status(bench.probing(probe, { url }));
          return status === 403 ? undefined : status;
        };
        const status = await poll("the new stage is served", STAGE_MS, read, { signal: bench.signal });
        return { recorded: "429", seen: String(status) };
      }),
  },
  {
    fact: "throttled-message",
    name: "a throttled message is not answered, and the connection stays open",
    run: (bench) =>
      withStage(bench, "no-messages", { RouteSettings: { [PROBE_ROUTE]: NOTHING } }, async (url) => {
        const open = async () => {
          const client = bench.probing({ kind: "status", status: 200 }, { url });
          return (await client.refusal) === undefined ? client : undefined;
        };
        const client = await poll("the new stage is served", STAGE_MS, open, { signal: bench.signal });
        client.send({ action: PROBE_ROUTE, probe: { kind: "event" } });
        const silence = pause(SILENCE_MS).then(() => "nothing");
        const closing = client.closing.then(({ code }) => `closed with ${code}`);
        const seen = await Promise.race([client.next(SILENCE_MS * 2), silence, closing]);
        return { recorded: "nothing", seen };
      }),
  },
  {
    fact: "apply-idempotent",
    name: "a second apply finds nothing to do",
    async run({ environment }) {
      const { steps } = await environment.provisioner.plan();
      const seen = steps.map(({ action, what, details }) => `${action} ${what} ${details.join(" ")}`);
      return { recorded: "", seen: seen.join(", ") };
    },
  },
  {
    fact: "redeploy-keeps-connections",
    name: "a connection stays open during a deployment, and uses it",
    async run(bench) {
      const { apiId: ApiId, url } = bench.environment;
      const client = await bench.user("ann");
      await bench.pause(DEPLOYMENT_MS);
      const StageName = new URL(url).pathname.slice(1);
      await bench.gateways.send(new CreateDeploymentCommand({ ApiId, StageName }));
      await bench.pause(DEPLOYMENT_MS);
      const { id, ok } = JSON.parse(await client.ask({ id: "1", handler: "whoami" }));
      return { recorded: "1 true", seen: `${id} ${ok}` };
    },
  },
];

/** The last check, because it removes the API. */
export const DESTRUCTION: readonly Check[] = [
  {
    fact: "destroy",
    name: "destroy removes the API, and open connections are closed",
    async run(bench) {
      const client = await bench.raw();
      await bench.environment.provisioner.destroy();
      const { apiId } = await bench.environment.provisioner.status();
      const closing = client.closing.then(({ code, reason }) => `closed with ${code} "${reason}"`);
      const note = await Promise.race([closing, pause(SILENCE_MS).then(() => "open for 5 s afterwards")]);
      return { recorded: "no API", seen: apiId === null ? "no API" : apiId, note: `connection: ${note}` };
    },
  },
];
