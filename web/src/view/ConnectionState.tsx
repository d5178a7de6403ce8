import type { OpenSession } from "../state/open-session.ts";
import type { ConnectionStatus } from "../wire/connection.ts";

const TEXTS: Record<ConnectionStatus, string> = {
  open: "Connected",
  connecting: "Connecting…",
  waiting: "Reconnecting…",
  offline: "Offline",
  blocked: "No live updates get through",
};

const BLOCKED =
  "The server answers, but neither a WebSocket nor server-sent events arrive from it. A proxy may hold them back.";

/** Whether the conversation is up to date. */
export function ConnectionState({
  session,
  connection,
}: {
  session: OpenSession;
  connection: ConnectionStatus;
}) {
  return (
    <div
      className={`connection ${connection}`}
      role="status"
      title={connection === "blocked" ? BLOCKED : TEXTS[connection]}
    >
      <i />
      <span>{TEXTS[connection]}</span>
      {["waiting", "offline", "blocked"].includes(connection) && (
        <button type="button" className="link" onClick={() => session.retry()}>
          Now
        </button>
      )}
    </div>
  );
}
