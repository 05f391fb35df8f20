import { oneLine, quoted } from "../terminal.ts";
import { type Check, type DoctorContext, problem } from "./check.ts";
import { type Finding, failed, ok, warning } from "./finding.ts";

/** A token that is valid for longer is reported in production, in seconds. */
const LONG_SECONDS = 300;

/** The token endpoint answers, and a client without a session receives no token. */
export const tokensCheck: Check = {
  name: "tokens",
  async run(context) {
    const { token } = context.inspection.settings;
    const endpoint = new URL(token.path, context.page?.origin ?? "http://localhost");
    const findings = [await checkEndpoint(context, endpoint), await checkStranger(context, endpoint)];
    if (context.isProduction && token.expiresInSeconds > LONG_SECONDS) {
      findings.push(
        warning(
          `A token can be used for ${token.expiresInSeconds} s. A leaked URL is dangerous for that time.`,
          "Remove token: { expiresInSeconds } (default 60), and request a token right before each connect.",
        ),
      );
    }
    return findings.filter((finding) => finding !== undefined);
  },
};

/** A preflight request stores nothing, unlike a denied POST. */
async function checkEndpoint({ sallyport }: DoctorContext, endpoint: URL): Promise<Finding | undefined> {
  const headers = { origin: endpoint.origin };
  const response = await sallyport.fetch(new Request(endpoint, { method: "OPTIONS", headers }));
  if (response?.status === 204) return undefined;
  return failed(
    `OPTIONS ${endpoint.pathname} is answered ${response?.status ?? "by no route"}, but must be answered 204.`,
    "Correct the option token: { path }.",
  );
}

async function checkStranger(context: DoctorContext, endpoint: URL): Promise<Finding> {
  const { inspection } = context;
  const { expiresInSeconds, binding } = inspection.settings.token;
  const what = `a request without cookies and headers`;
  let userId: string | undefined;
  try {
    userId = await inspection.authenticate(
      new Request(endpoint, { method: "POST", headers: { origin: endpoint.origin } }),
    );
  } catch (error) {
    return warning(
      `authenticate failed for ${what}: ${oneLine(error)}. POST ${endpoint.pathname} answers such a request with 500.`,
      "Let authenticate return null for a request without a session. If it needs the request of your framework, ignore this line.",
    );
  }
  if (userId === undefined) {
    return ok(
      `The app denies POST ${endpoint.pathname} without a session (401). Tokens can be used for ${expiresInSeconds} s, and their binding is "${binding}".`,
    );
  }
  return problem(
    context,
    `authenticate returned the user ${quoted(userId)} for ${what}, so every client receives a token.`,
    "Let authenticate return null for a request without a session.",
  );
}
