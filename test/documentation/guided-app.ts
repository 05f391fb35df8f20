import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { GeneratedApp } from "../templates/generated-app.ts";
import type { Page } from "./pages.ts";
import { fileName } from "./sample-program.ts";

/** Follows a page that builds an app: creates its files and runs its commands, one section after the other. */
export class GuidedApp {
  readonly #page: Page;
  readonly #tarball: string;
  readonly app: GeneratedApp;
  #sections: readonly string[];

  private constructor(page: Page, app: GeneratedApp, tarball: string) {
    this.#page = page;
    this.app = app;
    this.#tarball = tarball;
    this.#sections = [...new Set(page.samples.map(({ section }) => section))];
  }

  /** Prepares an app in the folder `name`, which the commands of the page create. */
  static async create(page: Page, name: string): Promise<GuidedApp> {
    const { app, tarball } = await GeneratedApp.planned(name);
    return new GuidedApp(page, app, tarball);
  }

  /** The sections with samples that were not followed. */
  get remaining(): readonly string[] {
    return this.#sections;
  }

  /**
   * Creates the files and runs the commands of the next section.
   *
   * @param edit changes a command first, for example to insert a value that the page shows as an example
   * @returns the output of the commands
   */
  async follow(section: string, edit = (command: string) => command): Promise<string> {
    const [next] = this.#sections;
    if (next !== section) throw new Error(`The next section of ${this.#page.path} is "${next}".`);
    this.#sections = this.#sections.slice(1);
    let output = "";
    for (const sample of this.#page.samples) {
      const { language, code, section: own } = sample;
      if (own !== section) continue;
      const file = fileName(sample) ?? sample.creates;
      if (file !== undefined) await this.#write(file, code);
      else if (language === "sh") output += await this.#run(edit(code));
    }
    return output;
  }

  async #write(file: string, text: string): Promise<void> {
    const path = join(this.app.folder, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, this.app.withPorts(text));
  }

  async #run(script: string): Promise<string> {
    const [, dev] = /^npx sallyport (dev .*)$/m.exec(script) ?? [];
    if (dev !== undefined) {
      await this.app.dev(["npx", "sallyport", ...dev.split(" ")]);
      return this.app.output;
    }
    // The package is not published. Its tarball is installed in place of it.
    const local = script.replace(/^(npm install) sallyport /m, `$1 ${this.#tarball} `);
    return this.app.shell(/^mkdir/.test(script) ? dirname(this.app.folder) : this.app.folder, local);
  }
}
