import type { AccessDenial } from "sallyport/react";
import { useSocket } from "./sallyport.ts";

/** Shows why the user has no access, and the commands that explain and change it. */
export function Denied({ denial, user }: { readonly denial: AccessDenial; readonly user: string }) {
  const { reconnect } = useSocket();
  const { kind, status, error, reference } = denial;
  const lacksPermission = status === 403;
  const reason = kind === "denied" && status > 0 ? `${status} ${error}` : error;
  const advice = `Run this in a second terminal to see why${lacksPermission ? " and to give access" : ""}:`;
  const commands = [
    reference && `npx sallyport why ${reference}`,
    lacksPermission && `npx sallyport users grant ${user} chat.use`,
  ].filter(Boolean);
  return (
    <section id="denied">
      <p>{commands.length > 0 ? `${reason} ${advice}` : reason}</p>
      <pre>
        <code id="command">{commands.join("\n")}</code>
      </pre>
      <button type="button" onClick={reconnect}>
        Try again
      </button>
    </section>
  );
}
