import { describe, expect, test } from "vitest";
import { Inspection } from "../../admin/inspection.ts";
import type { PostResult } from "../../delivery/management-api.ts";
import type { Gateway } from "../../index.ts";
import type { DoctorContext } from "./check.ts";
import { iamCheck } from "./iam.ts";

const REMOTE: Gateway = {
  id: "1",
  name: "chat",
  apiId: "a1b2c3d4e5",
  stage: "production",
  endpoint: "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/production",
  secretHashes: [],
  replies: "route",
};
const LOCAL: Gateway = { ...REMOTE, name: "local", endpoint: "http://127.0.0.1:3001/dev" };
const never = new AbortController().signal;

interface Case {
  /** What the Management API answers. Undefined: no credentials are found. */
  readonly answer: PostResult | undefined;
  readonly gateways?: readonly Gateway[];
  readonly isProduction?: boolean;
}

/** Runs the check with a Management API that gives one answer. */
function findings({ answer, gateways = [REMOTE], isProduction = false }: Case) {
  const credentials = async () => {
    if (!answer) throw new Error("no profile");
    return { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not a secret" };
  };
  const calls: (readonly string[])[] = [];
  const unused = async (): Promise<PostResult> => ({ kind: "failed", reason: "not expected" });
  const api = {
    post: unused,
    delete: unused,
    get: async (endpoint: string, id: string) => {
      calls.push([endpoint, id]);
      return answer ?? { kind: "ok" as const };
    },
    close: async () => undefined,
  };
  const inspection = new Inspection({ apiGateway: { credentials } } as never, { api } as never);
  const context = { inspection, isProduction, definitions: new Map(), gateways: async () => gateways };
  return iamCheck.run(context as unknown as DoctorContext, never).then((found) => ({ found, calls }));
}

describe("iam", () => {
  test("passes if the Management API finds no such connection", async () => {
    const answers: PostResult[] = [
      { kind: "gone" },
      { kind: "ok" },
      { kind: "failed", reason: "status 400 BadRequestException" },
    ];
    for (const answer of answers) {
      const { found, calls } = await findings({ answer });
      expect(found).toMatchObject([{ status: "ok", message: expect.stringContaining('gateway "chat"') }]);
      expect(calls).toEqual([[REMOTE.endpoint, "AAAAAAAAAAAAAAA="]]);
    }
  });

  test("fails if the Management API denies the credentials", async () => {
    const { found } = await findings({ answer: { kind: "failed", reason: "status 403 ForbiddenException" } });
    expect(found).toMatchObject([
      {
        status: "failed",
        message: expect.stringContaining("denies the credentials of this environment: status 403"),
        fix: expect.stringContaining("execute-api:ManageConnections"),
      },
    ]);
  });

  test("warns if the Management API does not answer", async () => {
    const { found } = await findings({ answer: { kind: "retry", reason: "timeout" } });
    expect(found).toMatchObject([{ status: "warning", message: expect.stringContaining("timeout") }]);
  });

  test("reports missing credentials, as a failure in production only", async () => {
    const message = expect.stringContaining("No AWS credentials were found");
    expect((await findings({ answer: undefined })).found).toMatchObject([{ status: "warning", message }]);
    const production = await findings({ answer: undefined, isProduction: true });
    expect(production.found).toMatchObject([{ status: "failed", message }]);
    expect(production.calls).toEqual([]);
  });

  test("needs no credentials for local gateways", async () => {
    const { found, calls } = await findings({ answer: undefined, gateways: [LOCAL] });
    expect(found).toMatchObject([{ status: "skipped" }]);
    expect(calls).toEqual([]);
  });
});
