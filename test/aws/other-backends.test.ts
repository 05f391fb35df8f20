import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { freePort } from "../../bench/src/free-port.ts";
import { startLocalGateway } from "../../src/local/emulator.ts";
import { openClient } from "../local/rig.ts";

const root = resolve(import.meta.dirname, "../..");

function hasPython(): boolean {
  try {
    execFileSync("python3", ["--version"]);
    return true;
  } catch {
    return false;
  }
}

test("4f the Python backend in docs/reference/local-gateway.md receives and sends messages", async ({
  skip,
}) => {
  if (!hasPython()) skip("there is no python3");
  const page = readFileSync(join(root, "docs/reference/local-gateway.md"), "utf8");
  const [, written = ""] = /```python\n([\s\S]+?)```/.exec(page) ?? [];
  const [backendPort, gatewayPort] = [await freePort(), await freePort()];
  const script = written.replace("8000)", `${backendPort})`).replace("3001)", `${gatewayPort})`);
  expect(script).not.toBe(written);
  const folder = await mkdtemp(join(tmpdir(), "sallyport-python-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "backend.py"), script);
  const backend = spawn("python3", [join(folder, "backend.py")], { stdio: "ignore" });
  onTestFinished(() => void backend.kill());
  const gateway = await startLocalGateway({
    target: `http://127.0.0.1:${backendPort}/ws/`,
    port: gatewayPort,
  });
  onTestFinished(() => gateway.close());
  const reached = () =>
    fetch(`http://127.0.0.1:${backendPort}/`).then(
      ({ status }) => status,
      () => 0,
    );
  await expect.poll(reached).toBe(501);
  const [one, other] = [await openClient(gateway.url), await openClient(gateway.url)];
  one.socket.send('{"text":"hello"}');
  expect(JSON.parse(await one.text())).toEqual({ you_said: { text: "hello" } });
  expect(await other.text()).toBe('{"text":"hello"}');
});
