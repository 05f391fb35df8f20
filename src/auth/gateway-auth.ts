import { hash, timingSafeEqual } from "node:crypto";
import { ForbiddenError, malformedRequest, type RequestError } from "../errors.ts";
import { type GatewayCall, isConnectionId } from "../protocol/gateway-call.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import { type Gateways, isSecret } from "./gateways.ts";

/**
 * Authenticates the gateway of each event. This is the first check of every event.
 *
 * A gateway is authenticated by the secret that provisioning maps on every integration. A direct
 * invocation of a Lambda function needs no secret, because only an authorized API can invoke it.
 * API id and stage are compared if they are present. They prove nothing, because any client can
 * send them in a header.
 */
export class GatewayAuthenticator {
  readonly #gateways: Gateways;
  readonly #auth: "secret" | "none";
  /** Decoded secret hashes, cached because every event is compared with them. */
  readonly #hashes = new WeakMap<Gateway, readonly Buffer[]>();

  /**
   * @param auth `none` trusts the API id of any caller, for a backend that only the gateway can
   *   reach
   */
  constructor(gateways: Gateways, auth: "secret" | "none") {
    this.#gateways = gateways;
    this.#auth = auth;
  }

  /**
   * Returns the gateway of a call if the cached list is fresh and contains it. Otherwise, it
   * returns undefined. Call {@link check} in that case.
   *
   * @throws RequestError if the API or the stage of the call differs from that of the gateway
   */
  find(call: GatewayCall): Gateway | undefined {
    const { freshList } = this.#gateways;
    const gateway = freshList && this.#identify(call, freshList);
    if (gateway) checkNames(gateway, call);
    return gateway;
  }

  /**
   * Returns the gateway of a call. Reads the list again if it does not contain the gateway.
   *
   * @throws RequestError if the caller is not a registered gateway
   */
  async check(call: GatewayCall): Promise<Gateway> {
    const gateway =
      this.#identify(call, await this.#gateways.list()) ??
      this.#identify(call, await this.#gateways.refresh());
    if (!gateway) throw this.#unknownCaller(call);
    checkNames(gateway, call);
    return gateway;
  }

  /**
   * Returns the gateway of a call according to the last list, for times when the database fails.
   * Use it only to send a response, because the secret may have been removed since.
   */
  lastKnown(call: GatewayCall): Gateway | undefined {
    const gateway = this.#identify(call, this.#gateways.lastKnown ?? []);
    try {
      if (gateway) checkNames(gateway, call);
      return gateway;
    } catch {
      return undefined;
    }
  }

  /** Returns whether a call can be from a registered gateway, for times when the database fails. */
  mayBeRegistered(call: GatewayCall): boolean {
    return this.#gateways.lastKnown === undefined || this.lastKnown(call) !== undefined;
  }

  /** Returns whether an accepted call proves which gateway sent it. */
  isAuthenticated({ isInvocation }: GatewayCall): boolean {
    return this.#auth === "secret" || isInvocation;
  }

  #identify(call: GatewayCall, gateways: readonly Gateway[]): Gateway | undefined {
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

  #unknownCaller(call: GatewayCall): RequestError {
    if (this.#auth === "none" || call.isInvocation)
      return unauthenticated(
        `no gateway is registered for API ${JSON.stringify(call.apiId)} and this stage`,
        "Register it with registerGateway().",
      );
    if (call.secret === undefined) {
      return unauthenticated(
        "it has no x-sallyport-secret header",
        "Map the secret of the gateway to this header on every integration.",
      );
    }
    return unauthenticated(
      "its x-sallyport-secret is not the secret of a registered gateway",
      "Register the gateway with this secret, or correct the mapping on its integrations.",
    );
  }
}

/**
 * Compares API id and stage if they are present, and checks the form of the connection id.
 *
 * @throws RequestError if one of them is wrong
 */
function checkNames(gateway: Gateway, call: GatewayCall): void {
  if (gateway.apiId !== null && call.apiId !== undefined && call.apiId !== gateway.apiId) {
    throw unauthenticated(
      `it names API ${JSON.stringify(call.apiId)}, but gateway "${gateway.name}" has API ${gateway.apiId}`,
      "Use a different secret for each API, or register the gateway again.",
    );
  }
  if (call.stage !== undefined && call.stage !== gateway.stage) {
    throw unauthenticated(
      `it names stage ${JSON.stringify(call.stage)}, but gateway "${gateway.name}" has stage ${gateway.stage}`,
      "Use a different secret for each stage, or register the gateway again.",
    );
  }
  if (!isConnectionId(call.connectionId)) {
    throw malformedRequest(
      `The connectionId header is ${JSON.stringify(call.connectionId.slice(0, 200))}, which is not a connection id. ` +
        "Map integration.request.header.connectionId from context.connectionId on every integration.",
    );
  }
}

/**
 * Returns the error for a request that is not from a registered gateway.
 *
 * @param cause a clause without its period
 * @param advice a sentence
 */
function unauthenticated(cause: string, advice: string): RequestError {
  const message = `The request is not from a registered gateway: ${cause}. ${advice}`;
  return new ForbiddenError(message, { reason: "caller" });
}
