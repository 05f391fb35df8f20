import { afterEach, expect, test } from "vitest";
import type { GatewayOptions, Target } from "../../src/aws.ts";
import { ConfigurationError, ProvisioningError } from "../../src/errors.ts";
import type { Fault } from "./control-plane/server.ts";
import { expectServed } from "./expect-served.ts";
import { CHAT, ProvisioningWorld, REGION } from "./provisioning-world.ts";

const GATEWAYS = Number(process.env.PROVISIONING_GATEWAYS ?? 10);
const SEED = Number(process.env.PROVISIONING_SEED ?? Date.now() % 2 ** 31);
/** Number of edits, rotations and removals of a gateway. */
const EVENTS = 8;

/** Returns a generator that gives the same numbers for the same seed (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const CERTIFICATE = `arn:aws:acm:${REGION}:123456789012:certificate/0a1b2c3d-0000-4000-8000-000000000000`;
const FUNCTIONS = ["one", "two"].map((name) => `arn:aws:lambda:${REGION}:123456789012:function:${name}`);
const DOMAINS = ["ws.example.com", "next.example.com"].map((name) => {
  return { name, certificateArn: CERTIFICATE, mappingKey: "chat" };
});
const FAULTS: readonly Fault[] = [
  { kind: "rejected", status: 403, type: "AccessDeniedException" },
  { kind: "rejected", status: 500, type: "InternalFailure" },
  { kind: "rejected", status: 429, type: "TooManyRequestsException" },
  { kind: "lost" },
  { kind: "answer lost" },
];

class RandomGateway {
  readonly #world: ProvisioningWorld;
  readonly #random: () => number;

  constructor(world: ProvisioningWorld, random: () => number) {
    this.#world = world;
    this.#random = random;
  }

  #oneOf<Item>(items: readonly Item[]): Item {
    return items[Math.floor(this.#random() * items.length)] as Item;
  }

  #definition(): Partial<GatewayOptions> {
    const target = this.#oneOf([CHAT, "https://www.example.org/ws/chat", { lambda: FUNCTIONS[0] ?? "" }]);
    const routes: Record<string, Target> = {};
    const targets: readonly (Target | undefined)[] = [
      undefined,
      "https://www.example.com/ws/moderation/moderate",
      { service: "https://billing.example.com/ws/billing/default" },
      ...FUNCTIONS.map((lambda) => ({ lambda })),
    ];
    for (const key of ["a", "b"]) {
      const chosen = this.#oneOf(targets);
      if (chosen !== undefined) routes[key] = chosen;
    }
    const [first, second] = DOMAINS as [GatewayOptions["domain"], GatewayOptions["domain"]];
    const domain = this.#oneOf([undefined, first, second, DOMAINS, [...DOMAINS].reverse()]);
    return {
      target,
      routes,
      account: "123456789012",
      replies: this.#oneOf(["route", "push"] as const),
      ...(this.#random() < 0.3 ? { throttling: { ratePerSecond: 10, burst: 20 } } : {}),
      ...(this.#random() < 0.3 ? { tags: { team: "chat" } } : {}),
      ...(domain === undefined ? {} : { domain, disableExecuteApiEndpoint: this.#random() < 0.4 }),
    };
  }

  /** One of the changes of a run fails, or the run is killed before one of its steps. */
  async #disturbed(
    isServing: boolean,
    run: (onStep: () => void, signal: AbortSignal) => Promise<unknown>,
  ): Promise<void> {
    const { aws } = this.#world;
    const from = aws.changes;
    const at = 1 + Math.floor(this.#random() * 14);
    const fault = this.#random() < 0.5 ? this.#oneOf(FAULTS) : undefined;
    const isKilled = this.#random() < 0.5;
    const ending = new AbortController();
    let steps = 0;
    aws.fault = async (operation, change) => {
      if (isServing) await this.#check(`before ${operation}`);
      return change === from + at ? fault : undefined;
    };
    await run(() => {
      if (fault || ++steps !== at) return;
      if (isKilled) throw new Error("killed");
      ending.abort();
    }, ending.signal).catch((error: unknown) => {
      const isExpected =
        error instanceof ProvisioningError ||
        error instanceof ConfigurationError ||
        (error instanceof Error && error.message === "killed");
      if (!isExpected) throw error;
    });
    aws.fault = () => undefined;
    if (isServing) await this.#check("after an interrupted run");
  }

  async #check(where: string): Promise<void> {
    const record = await this.#world.record();
    const isServing = record?.endpoint.endsWith(".invalid") === false && record.apiId !== null;
    if (!isServing || !this.#world.aws.apis.served(record.apiId ?? "", "production")) return;
    await expectServed(this.#world, where);
  }

  async run(): Promise<void> {
    // An interrupted removal can leave an API whose domain is gone. The next apply completes it.
    let isWhole = true;
    for (let event = 0; event < EVENTS; event++) {
      const options = this.#definition();
      const provisioner = (signal?: AbortSignal) => this.#world.define(options, signal ? { signal } : {});
      const kind = this.#oneOf(["edit", "edit", "edit", "rotate", "destroy"] as const);
      if (kind === "destroy") isWhole = false;
      await this.#disturbed(isWhole, async (onStep, signal) => {
        if (kind === "rotate") await provisioner(signal).rotateSecret(onStep);
        else if (kind === "destroy") await provisioner(signal).destroy(onStep);
        else await provisioner(signal).apply(onStep);
      });
      const rejection = await provisioner()
        .plan()
        .then(
          () => undefined,
          (error: unknown) => error,
        );
      // A domain without DNS records must not be the only one.
      if (rejection instanceof ConfigurationError && /which does not exist yet/.test(rejection.message))
        continue;
      await provisioner().apply();
      isWhole = true;
      this.#world.aws.clock.advance(this.#random() * 20 * 60_000);
      await provisioner().apply();
      expect(await provisioner().plan(), `event ${event}: ${kind}`).toEqual({ steps: [] });
      await expectServed(this.#world, `event ${event}`);
      this.#expectPermissions(options);
    }
    await this.#world.define().destroy();
    expect(this.#world.aws.apis.all()).toEqual([]);
    expect(this.#world.aws.apis.domains.GetDomainNames({}).Items).toEqual([]);
    this.#expectPermissions({});
  }

  #expectPermissions({ target, routes = {} }: Partial<GatewayOptions>): void {
    for (const lambda of FUNCTIONS) {
      const isCalled = [target, ...Object.values(routes)].some(
        (each) => typeof each === "object" && "lambda" in each && each.lambda === lambda,
      );
      expect(this.#world.aws.functions.permissions(lambda), lambda).toHaveLength(isCalled ? 1 : 0);
    }
  }
}

let world: ProvisioningWorld | undefined;
afterEach(() => world?.close());

test(`${GATEWAYS} gateways with random edits, rotations and removals, and runs interrupted at random steps`, async () => {
  console.log(`provisioning: ${GATEWAYS} gateways, seed ${SEED}`);
  for (let gateway = 0; gateway < GATEWAYS; gateway++) {
    world = await ProvisioningWorld.open();
    for (const lambda of FUNCTIONS) world.aws.functions.add(lambda);
    await new RandomGateway(world, numbers(SEED + gateway)).run().catch((error: unknown) => {
      throw new Error(`PROVISIONING_SEED=${SEED + gateway} PROVISIONING_GATEWAYS=1`, { cause: error });
    });
    await world.close();
    world = undefined;
  }
});
