import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Provisioner, provisioner } from "../../src/aws/provisioning.ts";
import { defineGateway } from "../../src/aws.ts";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { Clock } from "../aws/control-plane/rates.ts";
import { ControlPlane } from "../aws/control-plane/server.ts";
import { secretOf } from "../aws/provisioning-world.ts";
import { servedApi } from "../aws/served.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { ORIGIN, Socket, World } from "../integration/world.ts";

const APP = "https://www.example.com";

let world: World;
let aws: ControlPlane;
let gateway: LocalGateway;
let chatGateway: Provisioner;
beforeEach(async () => {
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: "not a secret" });
  aws = await ControlPlane.start("eu-west-1", new Clock({ runs: true }));
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    gateways: [defineGateway({ name: "chat", region: "eu-west-1", target: `${APP}/ws/chat` })],
    limits: {
      connectsPerUser: false,
      connectionsPerUser: false,
      connectsPerIp: false,
      tokensPerUser: false,
      messagesPerConnection: false,
      messagesPerUser: false,
    },
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  chatGateway = provisioner(world.sallyport, "chat", {
    endpoint: aws.endpoint,
    // Limits each wait to 6.5 s. Processes cache the gateways for five seconds.
    wait: (ms) => sleep(Math.min(ms, 6500)),
  });
  await chatGateway.apply();
  gateway = await startLocalGateway({
    apis: [{ id: apiId(), ...served(), stages: { production: {} } }],
    port: 0,
  });
});
afterEach(async () => {
  await chatGateway.close();
  await gateway.close();
  await world.close();
  await aws.close();
});

function apiId(): string {
  return aws.apis.all()[0]?.ApiId ?? "";
}

function snapshot() {
  const found = aws.apis.served(apiId(), "production");
  if (!found) throw new Error("nothing is deployed");
  return found;
}

const served = () => servedApi(snapshot(), { [APP]: world.appUrls });
const servedSecret = () => secretOf(snapshot().integrations[0] ?? {});

async function connect(): Promise<Socket> {
  const url = new URL(gateway.url);
  url.searchParams.set("ws_token", await world.token("ann"));
  url.searchParams.set("channel", "rooms/general");
  return Socket.open(url, { origin: ORIGIN, cookie: "login=ann:login-of-ann" });
}

test("1f a secret rotation rejects no event while users connect, send messages and disconnect", async () => {
  const before = servedSecret();
  let isOver = false;
  const done = { connects: 0, messages: 0 };
  const person = async () => {
    while (!isOver) {
      const socket = await connect();
      done.connects++;
      for (let count = 0; count < 20 && !isOver; count++) {
        await socket.result("whoami", { count });
        done.messages++;
        await nextTurn();
      }
      socket.close();
      await socket.closed;
    }
  };
  const people = Promise.all(Array.from({ length: 4 }, person));
  let rotated = before;
  const rotation = chatGateway.rotateSecret();
  const deploying = (async () => {
    // Serves what is deployed, as AWS does automatically.
    while (!isOver) {
      if (servedSecret() !== rotated) {
        rotated = servedSecret();
        gateway.deploy(served());
      }
      await sleep(2);
    }
  })();
  await Promise.race([rotation, people]);
  const until = Math.max(400, done.messages + 50);
  await expect.poll(() => done.messages).toBeGreaterThan(until);
  isOver = true;
  await Promise.all([people, deploying]);
  await rotation;
  expect(rotated).not.toBe(before);
  expect(done.connects).toBeGreaterThan(20);
  expect(world.decisions).toEqual([]);
  expect(world.errors).toEqual([]);

  // The former secret is rejected once every process has read the gateways again.
  const socket = await connect();
  const forged = () =>
    world.event("/ws/chat/default", {
      connectionid: "L0SM9cOFvHcCIhw=",
      "x-sallyport-secret": before,
      "content-type": "application/json",
    });
  const statuses = async () => {
    const seen: number[] = [];
    for (let count = 0; count < world.appUrls.length; count++) seen.push((await forged()).status);
    return new Set(seen);
  };
  await expect.poll(statuses).toEqual(new Set([403]));
  expect(world.decisions.at(-1)).toMatchObject({ reason: "caller" });
  await socket.result("whoami");
});
