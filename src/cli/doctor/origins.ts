import { oneLine, quoted } from "../terminal.ts";
import { type Check, type DoctorContext, problem } from "./check.ts";
import { type Finding, failed, listed, ok, skipped, warning } from "./finding.ts";
import { isLocalUrl } from "./hosts.ts";

/** Pages of the given URL are allowed to connect. */
export const originsCheck: Check = {
  name: "origins",
  async run(context) {
    const { inspection, page, isDefaultPage, isProduction } = context;
    const { origins, allowMissingOrigin } = inspection.settings;
    const isEmpty = typeof origins !== "function" && origins.length === 0;
    const isCompared = page !== undefined && !(isDefaultPage && isEmpty);
    const findings = [isCompared ? await checkPage(context, page) : withoutPage(context)];
    if (isProduction && allowMissingOrigin) {
      findings.push(
        warning(
          "allowMissingOrigin is true, so clients that are not browsers can connect without an Origin header.",
          "Remove allowMissingOrigin if all of your clients are browsers.",
        ),
      );
    }
    const insecure = typeof origins === "function" ? [] : origins.filter((origin) => /^http:/.test(origin));
    if (isProduction && insecure.length > 0) {
      findings.push(
        warning(
          `The option origins contains ${listed(insecure)}, which other programs of a network or machine can serve.`,
          "List only https:// origins in production.",
        ),
      );
    }
    return findings;
  },
};

async function checkPage(context: DoctorContext, page: URL): Promise<Finding> {
  const { inspection } = context;
  const { isAllowed, error } = await inspection.decideOrigin(page.origin);
  if (isAllowed) return ok(`Pages of ${page.origin} are allowed to connect.`);
  if (error !== undefined) {
    return failed(
      `The function origins failed for ${quoted(page.origin)}: ${oneLine(error)}`,
      "Correct the function. A failure denies the request with 403.",
    );
  }
  const { origins } = inspection.settings;
  if (typeof origins === "function") {
    return notAllowed(
      context,
      `The function origins did not return true for ${quoted(page.origin)}.`,
      "Return true if pages of this origin are allowed to connect.",
    );
  }
  const local = isLocalUrl(page)
    ? origins.find((origin) => URL.canParse(origin) && isLocalUrl(new URL(origin)))
    : undefined;
  return notAllowed(
    context,
    `The origin ${quoted(page.origin)} is not in the option origins, which contains ${listed(origins) || "nothing"}.`,
    local === undefined
      ? `Add ${quoted(page.origin)} to origins.`
      : `Open the page at ${local}, or add ${quoted(page.origin)} to origins.`,
  );
}

/** Without `--page`, the page can have another origin than that of `sallyport dev`. */
function notAllowed({ isDefaultPage }: DoctorContext, message: string, fix: string): Finding {
  if (!isDefaultPage) return failed(message, fix);
  return warning(message, `${fix} If your page has another URL, pass it with --page.`);
}

function withoutPage(context: DoctorContext): Finding {
  const { origins } = context.inspection.settings;
  const how = "Pass the URL of your page: --page https://www.example.com.";
  if (typeof origins === "function")
    return skipped("The option origins is a function. No page was compared.", how);
  if (origins.length > 0) {
    return skipped(`The option origins contains ${listed(origins)}. No page was compared.`, how);
  }
  return problem(
    context,
    "The option origins is empty, so no browser can connect. Only clients without an Origin header can.",
    "List the origins of your pages in the option origins, unless your clients are not browsers.",
  );
}
