import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { DemoApp, type DemoPage } from "../../test/browser/demo-app.ts";

// `npm run screenshots` writes the pictures of README. It needs Chromium and the package "webp".

const IMAGES = resolve(import.meta.dirname, "../../docs/images");
const DESKTOP = { width: 1280, height: 720 };
const PHONE = { width: 390, height: 760 };

const folder = mkdtempSync(join(tmpdir(), "sallyport-screenshots-"));
// The pictures show this path, which is relative to a temporary folder.
const app = await DemoApp.start("chat.db");

/** Opens the page as Alice and Mo, with all messages. */
async function opened(viewport: { width: number; height: number }, colorScheme: "light" | "dark") {
  const demo = await app.open({ viewport, colorScheme, deviceScaleFactor: 2 });
  for (const side of ["left", "right"] as const) {
    await demo.pane(side).locator.getByTestId("message").last().waitFor({ state: "attached" });
  }
  return demo;
}

async function picture(demo: DemoPage, name: string): Promise<void> {
  const png = join(folder, `${name}.png`);
  await demo.page.screenshot({ path: png });
  execFileSync("cwebp", ["-quiet", "-q", "82", png, "-o", join(IMAGES, `${name}.webp`)]);
}

/** Takes the permission of Alice away, as the guide of the page suggests. */
async function revoked(demo: DemoPage): Promise<void> {
  await demo.turnOff("Alice", "Use chat");
  await demo
    .pane("left")
    .locator.getByTestId("access-ended")
    .getByText(/\d+ ms/)
    .waitFor();
}

{
  const demo = await opened(DESKTOP, "dark");
  await revoked(demo);
  await picture(demo, "demo-dark");
  await demo.close();
}

{
  const demo = await opened(PHONE, "light");
  await app.turn("Alice", { permission: "chat.can_use_chat", isOn: false });
  await demo
    .pane("left")
    .locator.getByTestId("access-ended")
    .getByText(/\d+ ms/)
    .waitFor();
  await picture(demo, "demo-phone");
  await demo.close();
}

await animate();
await app.close();
rmSync(folder, { recursive: true });

/** Records the steps of the guide as one animation. */
async function animate(): Promise<void> {
  const demo = await app.open({ viewport: DESKTOP, colorScheme: "light" });
  await demo.pane("right").locator.getByTestId("message").last().waitFor();
  await demo.pane("left").locator.getByTestId("message").last().waitFor();
  const frames: { readonly png: string; readonly ms: number }[] = [];
  const frame = async (ms: number) => {
    const png = join(folder, `frame-${frames.length}.png`);
    await demo.page.screenshot({ path: png });
    frames.push({ png, ms });
  };
  await frame(1500);
  await demo.toggle("Alice", "Use chat").click({ force: true });
  await demo.page.getByTestId("preview").getByRole("listitem").first().waitFor();
  await frame(2200);
  await demo.page.getByTestId("confirm").click();
  await demo
    .pane("left")
    .locator.getByTestId("access-ended")
    .getByText(/\d+ ms/)
    .waitFor();
  await frame(3500);
  await demo.pane("left").locator.getByRole("button", { name: "Why?" }).click();
  await demo.page.getByTestId("explanation").waitFor();
  await frame(3500);
  await demo.page.keyboard.press("Escape");
  await demo.page.getByTestId("explanation").waitFor({ state: "detached" });
  await demo.toggle("Alice", "Use chat").click({ force: true });
  await demo.pane("left").locator.getByTestId("composer").waitFor();
  await demo.lines("Alice joined General").first().waitFor();
  await demo.pane("left").say("I am back.");
  await demo.pane("right").message("I am back.").waitFor();
  await frame(2500);
  const args = frames.flatMap(({ png, ms }) => ["-lossy", "-q", "80", "-d", String(ms), png]);
  execFileSync("img2webp", ["-loop", "0", ...args, "-o", join(IMAGES, "demo.webp")], { stdio: "ignore" });
  await demo.close();
}
