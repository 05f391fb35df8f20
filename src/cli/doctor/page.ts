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

/** The page answers. Redirects are not followed, and the body is not read. */
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
    return [await request(context, page, signal)];
  },
};

async function request(context: DoctorContext, page: URL, signal: AbortSignal): Promise<Finding> {
  // A password in the URL and the query are not printed.
  const url = `${page.origin}${page.pathname === "/" ? "" : page.pathname}`;
  const timeout = AbortSignal.timeout(ANSWER_MS);
  try {
    const response = await fetch(`${page.origin}${page.pathname}${page.search}`, {
      redirect: "manual",
      signal: AbortSignal.any([signal, timeout]),
    });
    await response.body?.cancel();
    return answerOf(context, url, response.status);
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
