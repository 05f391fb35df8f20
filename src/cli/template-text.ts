/**
 * The maximum size of a template in a request to CloudFormation, in bytes. Source: AWS
 * CloudFormation user guide, quotas.
 */
const MAX_BODY_BYTES = 51_200;
/** The maximum size of a template in S3, in bytes. Source: the same. */
const MAX_S3_BYTES = 1_000_000;

/** A template as it is printed, and notes about its size. */
export interface TemplateText {
  readonly lines: readonly string[];
  readonly notes: readonly string[];
}

/**
 * Formats a template so that CloudFormation accepts it. A template that would be too large with
 * indentation is printed on one line.
 *
 * @param template the template as JSON
 */
export function templateText(template: object): TemplateText {
  const indented = JSON.stringify(template, null, 2);
  if (bytesOf(indented) <= MAX_BODY_BYTES) return { lines: indented.split("\n"), notes: [] };
  const compact = JSON.stringify(template);
  return { lines: [compact], notes: sizeNotes(bytesOf(compact)) };
}

function sizeNotes(bytes: number): readonly string[] {
  if (bytes <= MAX_BODY_BYTES) return [];
  const size = bytes.toLocaleString("en-US");
  if (bytes > MAX_S3_BYTES) {
    return [
      `The template has ${size} bytes. CloudFormation accepts 1 MB at most. Use fewer routes, or run gateway apply instead.`,
    ];
  }
  return [
    `The template has ${size} bytes. CloudFormation accepts more than 51,200 bytes only from S3. Use aws cloudformation deploy --s3-bucket, or create-stack --template-url.`,
  ];
}

/** Includes the line break at the end of the file. */
function bytesOf(text: string): number {
  return Buffer.byteLength(text) + 1;
}
