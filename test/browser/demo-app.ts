import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from "playwright-core";
import { freePort } from "../../bench/src/free-port.ts";

const root = resolve(import.meta.dirname, "../..");
const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";

/** Why the tests cannot run, or an empty text. */
export const missingChromium = existsSync(executablePath)
  ? ""
  : `: no Chromium at ${executablePath}; install Debian's chromium, or set CHROMIUM_PATH`;

/** The people of the demo. */
export type Person = "Alice" | "Mo" | "Eve" | "Rita";
export type Side = "left" | "right";

/** The demo as `npm start` runs it after the build, and a browser. */
export class DemoApp {
  /** Everything that the server and the pages printed. */
  output = "";
  readonly #folder: string;
  #browser: Browser | undefined;
  #process: ChildProcess | undefined;
  #env: NodeJS.ProcessEnv = {};

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @param database the path of the database. Default: a file in a temporary folder */
  static async start(database?: string): Promise<DemoApp> {
    const app = new DemoApp(await mkdtemp(join(tmpdir(), "sallyport-demo-")));
    await app.choosePorts(await freePort(), await freePort());
    if (database !== undefined) app.#env.DATABASE = database;
    const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
    app.#browser = await chromium.launch({
      executablePath,
      args: [...args, "--disable-component-update", "--disable-sync", "--no-first-run"],
    });
    await app.run();
    return app;
  }

  get url(): string {
    return `http://localhost:${this.#env.PORT}`;
  }

  get env(): NodeJS.ProcessEnv {
    return this.#env;
  }

  async choosePorts(port: number, gatewayPort: number): Promise<void> {
    this.#env = {
      ...process.env,
      PORT: String(port),
      GATEWAY_PORT: String(gatewayPort),
      DATABASE: join(this.#folder, "chat.db"),
    };
  }

  /** Runs the server, and resolves when it accepts requests. */
  async run(): Promise<void> {
    const server = this.spawn({});
    this.#process = server;
    let printed = "";
    await new Promise<void>((started, failed) => {
      for (const stream of [server.stdout, server.stderr]) {
        stream?.on("data", (data) => {
          this.output += data;
          printed += data;
          if (printed.includes("Ctrl-C ends")) started();
        });
      }
      server.once("exit", () => failed(new Error(`The demo did not start: ${printed}`)));
    });
  }

  /** Starts a process of the server with other environment variables. */
  spawn(changes: NodeJS.ProcessEnv): ChildProcess {
    const env = { ...this.#env, ...changes };
    return spawn(process.execPath, [join(root, "examples/chat/dist/main.js")], { env, cwd: this.#folder });
  }

  /** Ends the server. @returns its exit code */
  async stop(signal: "SIGINT" | "SIGKILL"): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => this.#process?.once("exit", resolve));
    this.#process?.kill(signal);
    return ended;
  }

  async close(): Promise<void> {
    await this.#browser?.close();
    if (this.#process?.exitCode === null && this.#process.signalCode === null) await this.stop("SIGKILL");
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Runs a command of the command line of Sallyport. */
  cli(...args: string[]) {
    const bin = join(root, "bin/sallyport.js");
    return promisify(execFile)(process.execPath, [bin, ...args], { env: this.#env, cwd: root });
  }

  /** Returns what every person may do. */
  async access(): Promise<{ people: { id: string; name: string }[] }> {
    return (await fetch(`${this.url}/api/access`)).json() as never;
  }

  /** Turns a switch of a person, as the page does. */
  async turn(name: Person, change: object): Promise<void> {
    const user = (await this.access()).people.find((person) => person.name === name)?.id;
    const holder = "permission" in change ? { kind: "permission", holder: { user } } : { user };
    const response = await fetch(`${this.url}/api/access/switch`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...holder, ...change }),
    });
    if (!response.ok) throw new Error(`The switch was rejected: ${await response.text()}`);
  }

  /** Opens the page in a browser of its own, with the access of the start. */
  async open(options: BrowserContextOptions = {}): Promise<DemoPage> {
    await fetch(`${this.url}/api/access/reset`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    return this.openAsIs(options);
  }

  /** Opens the page in a browser of its own. */
  async openAsIs(options: BrowserContextOptions = {}): Promise<DemoPage> {
    if (!this.#browser) throw new Error("The browser is closed.");
    const context = await this.#browser.newContext({ reducedMotion: "reduce", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    page.on("pageerror", (error) => {
      this.output += `page error: ${error}\n`;
    });
    page.on("console", (message) => {
      if (message.type() === "error") this.output += `page console error: ${message.text()}\n`;
    });
    await page.goto(this.url);
    return new DemoPage(page);
  }
}

/** The page of the demo. */
export class DemoPage {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  /** Returns the chat of a person. */
  pane(side: Side): DemoPane {
    return new DemoPane(this.page.getByTestId(`pane-${side}`));
  }

  get live(): Locator {
    return this.page.getByTestId("live");
  }

  /** Returns the lines of the live panel that contain a text. */
  lines(text: string | RegExp): Locator {
    return this.live.getByTestId("live-line").filter({ hasText: text });
  }

  /** Returns the switch of a person or group. */
  toggle(of: string, label: string): Locator {
    return this.page.getByRole("switch", { name: `${of}: ${label}`, exact: true });
  }

  /** Turns a switch off after its preview, and returns the text of the preview. */
  async turnOff(of: string, label: string): Promise<string> {
    await this.toggle(of, label).click({ force: true });
    const preview = this.page.getByTestId("preview");
    await preview.getByRole("listitem").first().waitFor();
    const text = (await preview.innerText()).replaceAll(/\s+/g, " ");
    await preview.getByTestId("confirm").click();
    await preview.waitFor({ state: "detached" });
    return text;
  }

  close(): Promise<void> {
    return this.page.context().close();
  }
}

/** The chat of one person. */
export class DemoPane {
  readonly locator: Locator;

  constructor(locator: Locator) {
    this.locator = locator;
  }

  /** Waits until the connection has a state. */
  async reaches(state: string): Promise<void> {
    await this.locator.locator(`[data-testid=state][data-state=${state}]`).waitFor();
  }

  async say(text: string): Promise<void> {
    await this.locator.getByTestId("composer").fill(text);
    await this.locator.getByTestId("send").click();
  }

  message(text: string): Locator {
    return this.locator
      .getByTestId("message")
      .filter({ has: this.locator.page().getByTestId("message-text").getByText(text, { exact: true }) });
  }

  room(slug: string): Locator {
    return this.locator.getByTestId(`room-${slug}`);
  }

  /** Signs in as another person. */
  async signInAs(name: Person): Promise<void> {
    await this.locator.getByTestId("person").click();
    await this.locator
      .page()
      .getByRole("menuitemradio", { name: new RegExp(`^${name}\\b`) })
      .click();
    await this.locator.getByTestId("person").getByText(name).waitFor();
  }
}
