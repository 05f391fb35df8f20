import { expect, test } from "vitest";
import { cloudFormationTemplate, defineGateway } from "../aws.ts";
import { templateText } from "./template-text.ts";

function templateOf(routeCount: number) {
  const names = Array.from({ length: routeCount }, (_, index) => `route_${index}`);
  const target = "https://www.example.com/ws/chat";
  const routes = Object.fromEntries(names.map((name) => [name, `${target}/${name}`]));
  return cloudFormationTemplate(defineGateway({ name: "chat", region: "eu-west-1", target, routes }));
}

test.each([0, 5, 20, 40, 60, 100, 150])(
  "prints a template with %d routes as equivalent JSON",
  (routeCount) => {
    const template = templateOf(routeCount);
    const { lines, notes } = templateText(template);
    const text = `${lines.join("\n")}\n`;
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(template)));
    const isWithinLimit = Buffer.byteLength(text) <= 51_200;
    expect(notes).toEqual(isWithinLimit ? [] : [expect.stringContaining("only from S3")]);
  },
);

test("indents a small template and prints a larger one on one line", () => {
  expect(templateText(templateOf(3)).lines.length).toBeGreaterThan(100);
  const { lines, notes } = templateText(templateOf(20));
  expect(lines).toHaveLength(1);
  expect(Buffer.byteLength(`${lines[0]}\n`)).toBeLessThanOrEqual(51_200);
  expect(notes).toEqual([]);
});

test.each([
  [51_199, []],
  [51_200, [expect.stringMatching(/^The template has 51,201 bytes\. .* only from S3\. .*--s3-bucket/)]],
  [999_999, [expect.stringContaining("only from S3")]],
  [
    1_000_000,
    [expect.stringMatching(/^The template has 1,000,001 bytes\. CloudFormation accepts 1 MB at most\./)],
  ],
])("counts the bytes of %d characters and the line break", (length, notes) => {
  const frame = JSON.stringify({ text: "" }).length;
  expect(templateText({ text: "x".repeat(length - frame) }).notes).toEqual(notes);
});

test("counts bytes and not characters", () => {
  expect(templateText({ text: "ü".repeat(26_000) }).notes).toHaveLength(1);
});
