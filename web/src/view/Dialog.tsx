import { type ReactNode, useEffect, useRef } from "react";

type Given = { title: string; onClose: () => void; children: ReactNode };

/** A modal dialog; Escape closes it. */
export function Dialog({ title, onClose, children }: Given) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-label={title} onCancel={onClose}>
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}

type Question = {
  title: string;
  text: string;
  verb: string;
  onYes: () => void;
  onClose: () => void;
};

/** Asks for confirmation of something that cannot be undone. */
export function Confirm({ title, text, verb, onYes, onClose }: Question) {
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{text}</p>
      <div className="dialog-buttons">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          className="danger"
          onClick={() => {
            onClose();
            onYes();
          }}
        >
          {verb}
        </button>
      </div>
    </Dialog>
  );
}
