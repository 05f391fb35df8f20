import type { EventSummary } from "../local/inspector/messages.ts";
import { jsonMembers, type Member, stringOf } from "./json-parts.ts";

/** A text of the column "Content". */
export interface ContentLabel {
  /** The handler, the action or the type of a JSON object. It is "" without one. */
  readonly lead: string;
  readonly rest: string;
}

/** The members that say what a message is for, in the order of their priority. */
const LEADS = ["handler", "action", "type"];

/** Returns the content of an event in one line: its body, close code or path. */
export function contentLabel({ kind, preview }: EventSummary): ContentLabel {
  return kind === "disconnect" ? { lead: "", rest: `code ${preview}` } : bodyLabel(preview);
}

/** Returns the body of an answer in one line. The answer to a disconnect is not sent to a client. */
export function answerLabel({ kind, answerPreview }: EventSummary): ContentLabel | undefined {
  if (kind === "disconnect" || answerPreview === "" || answerPreview === "{}") return undefined;
  return bodyLabel(answerPreview);
}

/** Returns a body with the handler first and ids last. A body that is not a JSON object is not changed. */
export function bodyLabel(body: string): ContentLabel {
  const object = jsonMembers(body);
  if (!object) return { lead: "", rest: body };
  const { members, isCut } = object;
  const leadName = LEADS.find((name) =>
    members.some((member) => member.name === name && stringOf(member.value)),
  );
  const lead = members.find(({ name }) => name === leadName);
  const others = members.filter((member) => member !== lead);
  const ordered = [...others.filter(({ name }) => !isId(name)), ...others.filter(({ name }) => isId(name))];
  const text = ordered.map((member) => memberText(member, isCut && member === members.at(-1))).join(",");
  if (!lead) return { lead: "", rest: `{${text}${isCut ? "" : "}"}` };
  return { lead: stringOf(lead.value) ?? "", rest: text === "" ? "" : `{${text}${isCut ? "" : "}"}` };
}

function memberText({ name, value }: Member, isCut: boolean): string {
  return `${JSON.stringify(name)}:${value}${isCut ? "…" : ""}`;
}

function isId(name: string): boolean {
  return /^(?:id|uuid)$|(?:_id|-id|I[dD])$/.test(name);
}
