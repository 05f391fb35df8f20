import { TOKEN_METHODS } from "../../protocol/http.ts";
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
  // Two requests.
  timeoutMs: 3 * ANSWER_MS,
  async run(context, signal) {
    // Without --page, the context has no page in production, or if PORT contains no port.
    const page = context.page ?? (context.isProduction ? undefined : defaultPage());
    if (!page || !/^https?:$/.test(page.protocol)) {
      return [
        skipped("No page was requested.", "Pass the URL of your page: --page https://www.example.com."),
      ];
    }
    const finding = await checkPage(context, page, signal);
    return finding.status === "ok" ? [finding, await checkTokenRoute(context, page, signal)] : [finding];
  },
};

/** Sends a GET request. Redirects are not followed, and the body is not read. */
async function request(url: string, signal: AbortSignal): Promise<Response> {
  const response = await fetch(url, { redirect: "manual", signal });
  await response.body?.cancel();
  return response;
}

async function checkPage(context: DoctorContext, page: URL, signal: AbortSignal): Promise<Finding> {
  // A password in the URL and the query are not printed.
  const url = `${page.origin}${page.pathname === "/" ? "" : page.pathname}`;
  const timeout = AbortSignal.timeout(ANSWER_MS);
  try {
    const requested = `${page.origin}${page.pathname}${page.search}`;
    const { status } = await request(requested, AbortSignal.any([signal, timeout]));
    return answerOf(context, url, status);
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
 * Checks that the server of the page passes the token endpoint to Sallyport, which returns 405 for
 * each GET request and stores nothing.
 */
async function checkTokenRoute(
  { inspection }: DoctorContext,
  page: URL,
  signal: AbortSignal,
): Promise<Finding> {
  const { path } = inspection.settings.token;
  const url = `${page.origin}${path}`;
  const fix =
    "Mount the middleware of Sallyport before the other routes: see docs/reference/adapters.md. If another server has the token endpoint, ignore this line.";
  const timeout = AbortSignal.timeout(ANSWER_MS);
  try {
    const { status, headers } = await request(url, AbortSignal.any([signal, timeout]));
    if (status === 405 && headers.get("allow") === TOKEN_METHODS) return ok(`${url} reaches Sallyport.`);
    return warning(`GET ${url} returned ${status}, but not the 405 of Sallyport.`, fix);
  } catch (error) {
    if (timeout.aborted) {
      return warning(
        `GET ${url} did not answer within ${ANSWER_MS / 1000} s.`,
        "Check the server, and run the command again. The first request of a development server can be slow.",
      );
    }
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
