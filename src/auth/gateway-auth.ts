import { hash, timingSafeEqual } from "node:crypto";
import { malformed, RefusedError } from "../errors.ts";
import { type GatewayCall, isConnectionId } from "../protocol/gateway-call.ts";
import { type Gateway, type Gateways, isSecret } from "./gateways.ts";

/**
 * Answers the first question of every event: does it come from one of our gateways?
 *
 * The proof is the secret that provisioning maps on every integration, or the way of the call itself: nobody but an API that may
 * invokes a Lambda function. In a header, API id and stage can be sent by anyone: they are compared where present and prove nothing.
 */
export class GatewayAuthenticator {
  readonly #gateways: Gateways;
  readonly #auth: "secret" | "none";
  /** Every event is compared with them. */
  readonly #hashes = new WeakMap<Gateway, readonly Buffer[]>();

  /** @param auth `none` accepts the API id that any caller names: for a backend that only the gateway can reach */
  constructor(gateways: Gateways, auth: "secret" | "none") {
    this.#gateways = gateways;
    this.#auth = auth;
  }

  /**
   * Returns the gateway of a call at once, if the list is fresh and has it. undefined: {@link check} decides.
   *
   * @throws RefusedError if the call names another API or stage than its gateway's
   */
  find(call: GatewayCall): Gateway | undefined {
    const { freshList } = this.#gateways;
    const gateway = freshList && this.#recognise(call, freshList);
    if (gateway) checkNames(gateway, call);
    return gateway;
  }

  /** @throws RefusedError when the caller is not one of our gateways */
  async check(call: GatewayCall): Promise<Gateway> {
    const gateway =
      this.#recognise(call, await this.#gateways.list()) ??
      this.#recognise(call, await this.#gateways.listAnew());
    if (!gateway) throw this.#unknown(call);
    checkNames(gateway, call);
    return gateway;
  }

  /**
   * Returns the gateway of a call by the list as it was last read, while it cannot be read. It is enough to send an answer, and for
   * nothing else: a secret may have been removed since.
   */
  lastKnown(call: GatewayCall): Gateway | undefined {
    const gateway = this.#recognise(call, this.#gateways.lastKnown ?? []);
    try {
      if (gateway) checkNames(gateway, call);
      return gateway;
    } catch {
      return undefined;
    }
  }

  /** Whether a call may come from one of our gateways, as far as that is known while the list cannot be read. */
  isPlausible(call: GatewayCall): boolean {
    return this.#gateways.lastKnown === undefined || this.lastKnown(call) !== undefined;
  }

  /** Whether a call that {@link check} accepted proves which gateway it comes from. */
  proves({ isInvocation }: GatewayCall): boolean {
    return this.#auth === "secret" || isInvocation;
  }

  #recognise(call: GatewayCall, gateways: readonly Gateway[]): Gateway | undefined {
    if (this.#auth === "none" || call.isInvocation) {
      const { apiId, stage } = call;
      return gateways.find(
        (gateway) =>
          gateway.apiId !== null && gateway.apiId === apiId && gateway.stage === (stage ?? gateway.stage),
      );
    }
    const { secret } = call;
    if (secret === undefined || !isSecret(secret)) return undefined;
    const presented = hash("sha256", secret, "buffer");
    let found: Gateway | undefined;
    for (const gateway of gateways) {
      for (const known of this.#hashesOf(gateway)) if (timingSafeEqual(presented, known)) found = gateway;
    }
    return found;
  }

  #hashesOf(gateway: Gateway): readonly Buffer[] {
    let hashes = this.#hashes.get(gateway);
    if (!hashes) {
      hashes = gateway.secretHashes.map((text) => Buffer.from(text, "hex"));
      this.#hashes.set(gateway, hashes);
    }
    return hashes;
  }

  #unknown(call: GatewayCall): RefusedError {
    if (this.#auth === "none" || call.isInvocation)
      return notOurs(`no gateway is registered for API ${JSON.stringify(call.apiId)}`);
    if (call.secret === undefined) {
      return notOurs("it has no x-sallyport-secret header; map the gateway's secret on every integration");
    }
    return notOurs("its x-sallyport-secret is that of no registered gateway");
  }
}

/** Compares what is no proof, where it is present. @throws RefusedError where it differs, or for what is no connection id */
function checkNames(gateway: Gateway, call: GatewayCall): void {
  if (gateway.apiId !== null && call.apiId !== undefined && call.apiId !== gateway.apiId) {
    throw notOurs(
      `it names API ${JSON.stringify(call.apiId)}, but gateway "${gateway.name}" is ${gateway.apiId}`,
    );
  }
  if (call.stage !== undefined && call.stage !== gateway.stage) {
    throw notOurs(
      `it names stage ${JSON.stringify(call.stage)}, but gateway "${gateway.name}" is ${gateway.stage}`,
    );
  }
  if (!isConnectionId(call.connectionId)) {
    throw malformed(
      `The connectionId header is ${JSON.stringify(call.connectionId.slice(0, 200))}, which is no connection id. ` +
        "Map integration.request.header.connectionId from context.connectionId on every integration.",
    );
  }
}

function notOurs(why: string): RefusedError {
  return new RefusedError(`The call does not come from one of our gateways: ${why}.`, { reason: "caller" });
}
