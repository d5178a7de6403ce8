import { Dialog } from "./Dialog.tsx";

const KEYS = [
  ["Enter", "send, or queue while an answer is being written"],
  ["Shift Enter", "a new line"],
  ["Esc", "stop the answer"],
  ["Ctrl K", "search sessions and messages"],
  ["Ctrl Shift O", "a new chat"],
  ["Alt ↑ ↓", "previous session, next session"],
  ["Ctrl /", "this list"],
] as const;

/** The list of keyboard shortcuts. */
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
