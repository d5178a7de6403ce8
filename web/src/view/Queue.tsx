import { deleteMessage } from "../wire/api.ts";
import type { Message } from "../wire/types.ts";
import { IconButton } from "./Button.tsx";
import { attempt } from "./notices.tsx";
import { useSession } from "./session-context.ts";

/** The messages that wait for the answer that is being written. */
export function Queue({ messages }: { messages: Message[] }) {
  const session = useSession();
  if (!messages.length) return null;
  return (
    <section className="queue" aria-label="Queued messages">
      <h3>{messages.length === 1 ? "One message waits" : `${messages.length} messages wait`}</h3>
      <ol>
        {messages.map((message) => (
          <li key={message.id}>
            <bdi>{message.content || "A file"}</bdi>
            <IconButton
              icon="close"
              label="Withdraw"
              onClick={() => attempt(deleteMessage(session.id, message.id))}
            />
          </li>
        ))}
      </ol>
    </section>
  );
}
