import type { OpenSession } from "../state/open-session.ts";
import type { ConnectionStatus } from "../wire/connection.ts";

const TEXTS: Record<ConnectionStatus, string> = {
  open: "Connected",
  connecting: "Connecting…",
  waiting: "Reconnecting…",
  offline: "Offline",
  blocked: "Live updates are blocked",
};

/** Whether the conversation is up to date. */
export function ConnectionState({
  session,
  connection,
}: {
  session: OpenSession;
  connection: ConnectionStatus;
}) {
  return (
    <div className={`connection ${connection}`} role="status" title={TEXTS[connection]}>
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
