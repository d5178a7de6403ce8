import { Dialog } from "./Dialog.tsx";

const KEYS = [
  ["Enter", "send, or queue while an answer is written"],
  ["Shift Enter", "a new line"],
  ["Esc", "stop the answer"],
  ["Ctrl K", "search sessions and messages"],
  ["Ctrl Shift O", "a new chat"],
  ["Alt ↑ ↓", "the session before, the session after"],
  ["Ctrl /", "this list"],
] as const;

/** What the keyboard does. */
export function Keys({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl className="keys">
        {KEYS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <div className="dialog-buttons">
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
