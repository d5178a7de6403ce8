import type { OpenSession } from "../state/open-session.ts";
import type { Connection } from "../wire/socket.ts";

const TEXTS: Record<Connection, string> = {
  open: "Connected",
  connecting: "Connecting…",
  waiting: "Reconnecting…",
  offline: "Offline",
};

/** Whether the conversation is up to date. */
export function ConnectionState({
  session,
  connection,
}: {
  session: OpenSession;
  connection: Connection;
}) {
  return (
    <div className={`connection ${connection}`} role="status" title={TEXTS[connection]}>
      <i />
      <span>{TEXTS[connection]}</span>
      {connection === "waiting" && (
        <button type="button" className="link" onClick={() => session.retry()}>
          Now
        </button>
      )}
    </div>
  );
}
