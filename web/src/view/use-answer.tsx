import { useState } from "react";
import { answer, type Reply } from "../wire/api.ts";
import { ServerError } from "../wire/request.ts";
import { useSession } from "./session-context.ts";
import { unhidden } from "./text.ts";

/** Gives an answer to a question. It is `busy` until its tool call arrives without an open question. */
export function useAnswer(id: string) {
  const session = useSession();
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState("");

  const give = async (reply: Reply): Promise<void> => {
    // What was used disappears with the answer, which may arrive before the response; without it, the
    // keyboard would start at the top.
    const used = document.activeElement?.closest(".question");
    const call = used?.previousElementSibling?.querySelector("summary");
    setBusy(true);
    setRefusal("");
    try {
      await answer(session.id, id, reply);
      session.written.delete(id);
      call?.focus({ preventScroll: true });
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      setRefusal(error.message);
      setBusy(false);
    }
  };
  return { give, busy, refusal };
}

/** Why the server refused an answer. */
export function Refusal({ text }: { text: string }) {
  return <div role="alert">{text && <p className="problem">{unhidden(text)}</p>}</div>;
}
