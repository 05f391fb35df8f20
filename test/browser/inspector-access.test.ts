import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { browser, describeInBrowser, gateway, openClient, start } from "./inspector-page.ts";

describeInBrowser("the inspector in Chromium, beside a page of another origin", () => {
  test("cannot be read or used by a page of another origin", async () => {
    await start();
    const client = await openClient();
    const [id = ""] = gateway.connectionIds;
    const other = createServer((_, response) => response.setHeader("content-type", "text/html").end("other"));
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => void other.close());
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const page = await context.newPage();
    // localhost and 127.0.0.1 are different sites, and ports of one name are the same site.
    for (const name of ["127.0.0.1", "localhost"]) {
      await page.goto(`http://${name}:${(other.address() as AddressInfo).port}/`);
      const outcomes = await page.evaluate(
        async ([base, connectionId]) => {
          const attempt = (path: string, init: RequestInit) =>
            fetch(`${base}${path}`, init).then(
              async (response) => `${response.type} ${response.status} ${await response.text()}`,
              () => "failed",
            );
          const body = JSON.stringify({ connectionId, data: "from another page" });
          const type = "application/json";
          const framed = document.createElement("iframe");
          framed.src = `${base}/`;
          document.body.append(framed);
          await new Promise((resolve) => {
            framed.onload = resolve;
          });
          return [
            await attempt("/.inspector/events", { method: "POST", headers: { "content-type": type }, body }),
            await attempt("/.inspector/send", { method: "POST", headers: { "content-type": type }, body }),
            await attempt("/.inspector/send", { method: "POST", body }),
            await attempt("/.inspector/send", { method: "POST", body, mode: "no-cors" }),
            await attempt("/.inspector/close", { method: "POST", body, mode: "no-cors" }),
            await attempt("/", {}),
            framed.contentDocument === null ? "blocked" : framed.contentDocument.body.innerText,
          ];
        },
        [`http://127.0.0.1:${gateway.port}`, id],
      );
      expect(outcomes).toEqual([
        ...["failed", "failed", "failed"],
        // An opaque answer cannot be read. CORP blocks it if the other page is of another site.
        expect.stringMatching(/^(failed|opaque 0 )$/),
        expect.stringMatching(/^(failed|opaque 0 )$/),
        ...["failed", "blocked"],
      ]);
    }
    expect(gateway.connectionIds).toEqual([id]);
    client.socket.send("echo");
    // The next message that arrives is not one of another page.
    expect(await client.text()).toBe('{"got":"echo"}');
  });
});
