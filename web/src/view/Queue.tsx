import { deleteMessage } from "../wire/api.ts";
import type { Message } from "../wire/types.ts";
import { IconButton } from "./Button.tsx";
import { attempt } from "./notices.tsx";
import { useSession } from "./session-context.ts";

/** The messages that wait for their turn. */
export function Queue({ messages }: { messages: Message[] }) {
  const session = useSession();
  if (!messages.length) return null;
  return (
    <section className="queue" aria-label="Queued messages">
      <h3>{messages.length === 1 ? "1 queued message" : `${messages.length} queued messages`}</h3>
      <ol>
        {messages.map((message) => (
          <li key={message.id}>
            <bdi>{message.content || "File"}</bdi>
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
