import { portOfEnvironment, SERVER_PORT } from "../ports.ts";
import { oneLine } from "../terminal.ts";
import { type Check, type DoctorContext, problem } from "./check.ts";
import { type Finding, ok, skipped, warning } from "./finding.ts";

/** Maximum time until the page answers, in milliseconds. */
const ANSWER_MS = 5000;

/**
 * Returns the URL at which `sallyport dev` runs the app.
 *
 * @throws ConfigurationError if PORT contains no port
 */
export function defaultPage(): URL {
  return new URL(`http://localhost:${portOfEnvironment("PORT", SERVER_PORT)}`);
}

/** The page answers, and the token endpoint of its server is that of Sallyport. */
export const pageCheck: Check = {
  name: "page",
  async run(context, signal) {
    // Without --page, the context has no page in production, or if PORT contains no port.
    const page = context.page ?? (context.isProduction ? undefined : defaultPage());
    if (!page || !/^https?:$/.test(page.protocol)) {
      return [
        skipped("No page was requested.", "Pass the URL of your page: --page https://www.example.com."),
      ];
    }
    const finding = await checkPage(context, page, signal);
    return finding.status === "ok" ? [finding, await checkEndpoint(context, page, signal)] : [finding];
  },
};

/** Returns the status of a GET request. Redirects are not followed, and the body is not read. */
async function statusOf(url: string, signal: AbortSignal): Promise<number> {
  const response = await fetch(url, { redirect: "manual", signal });
  await response.body?.cancel();
  return response.status;
}

async function checkPage(context: DoctorContext, page: URL, signal: AbortSignal): Promise<Finding> {
  // A password in the URL and the query are not printed.
  const url = `${page.origin}${page.pathname === "/" ? "" : page.pathname}`;
  const timeout = AbortSignal.timeout(ANSWER_MS);
  try {
    const requested = `${page.origin}${page.pathname}${page.search}`;
    return answerOf(context, url, await statusOf(requested, AbortSignal.any([signal, timeout])));
  } catch (error) {
    if (timeout.aborted) {
      return problem(
        context,
        `${url} did not answer within ${ANSWER_MS / 1000} s.`,
        "Check the server of the page and the network.",
      );
    }
    const { cause = error } = error as { readonly cause?: unknown };
    if ((cause as { readonly code?: unknown }).code === "ECONNREFUSED") return refused(context, url);
    return problem(
      context,
      `${url} could not be requested: ${oneLine(cause)}.`,
      "Check the URL of the page and the network.",
    );
  }
}

/**
 * Sallyport answers each GET request of the token endpoint with 405, and stores nothing. Without its
 * middleware, a server answers with another status, such as 404.
 */
async function checkEndpoint(
  { inspection }: DoctorContext,
  page: URL,
  signal: AbortSignal,
): Promise<Finding> {
  const { path } = inspection.settings.token;
  const url = `${page.origin}${path}`;
  const fix =
    "Mount the middleware of Sallyport before the other routes: see docs/frameworks.md. If another server has the token endpoint, ignore this line.";
  try {
    const status = await statusOf(url, AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]));
    if (status === 405) return ok(`${url} reaches Sallyport.`);
    return warning(`GET ${url} is answered with ${status}, but Sallyport answers with 405.`, fix);
  } catch (error) {
    return warning(`GET ${url} failed: ${oneLine((error as Error).cause ?? error)}.`, fix);
  }
}

function answerOf(context: DoctorContext, url: string, status: number): Finding {
  const { isDefaultPage } = context;
  const message = `${url} answers with status ${status}.`;
  if (status >= 500)
    return problem(context, message, "Read the log of the server of the page, and correct the error.");
  if (status >= 400 && !isDefaultPage)
    return warning(message, "Pass the URL of the page that connects: --page <url>.");
  return ok(
    isDefaultPage ? `${message} It is the page of sallyport dev. --page <url> names another one.` : message,
  );
}

function refused(context: DoctorContext, url: string): Finding {
  if (context.isDefaultPage) {
    return skipped(
      `Nothing listens at ${url}, the page of sallyport dev.`,
      "Run npm run dev, or pass the URL of your page: --page <url>.",
    );
  }
  return problem(
    context,
    `Nothing listens at ${url}.`,
    "Start the server of the page, or correct the URL of --page.",
  );
}
