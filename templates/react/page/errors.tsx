import { useEffect, useState } from "react";
import type { ClientError } from "sallyport/client";
import { useSocket } from "./sallyport.ts";

/** Shows an error, and the command that explains a denial. */
export function ErrorText({ error }: { readonly error: Error | ClientError | undefined }) {
  if (!error) return null;
  const reference = "reference" in error && error.reference;
  return (
    <p role="alert">{reference ? `${error.message} Run: npx sallyport why ${reference}` : error.message}</p>
  );
}

/** Shows why the last attempt to connect failed, until the next one begins. */
export function ConnectionError() {
  const { socket, state } = useSocket();
  const [error, setError] = useState<ClientError>();
  useEffect(() => socket?.on("error", setError), [socket]);
  useEffect(() => {
    if (state === "open") setError(undefined);
  }, [state]);
  return state === "reconnecting" && <ErrorText error={error} />;
}
