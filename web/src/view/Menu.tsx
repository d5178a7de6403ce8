import { type KeyboardEvent, useId, useRef } from "react";
import { IconButton } from "./Button.tsx";
import { Icon, type IconName } from "./icons.tsx";

export type MenuItem =
  | { icon: IconName; label: string; danger?: boolean; run: () => void }
  | { icon: IconName; label: string; download: string };

/** A button that opens a menu. */
export function Menu({ label, items }: { label: string; items: MenuItem[] }) {
  const id = useId();
  const menu = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  const open = () => {
    const list = menu.current;
    const at = button.current?.getBoundingClientRect();
    if (!list || !at) return;
    list.showPopover();
    const { width, height } = list.getBoundingClientRect();
    const below = at.bottom + height < innerHeight;
    list.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`;
    list.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - height - 4)}px`;
    list.querySelector<HTMLElement>("[role=menuitem]")?.focus();
  };

  const close = () => {
    menu.current?.hidePopover();
    button.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const entries = [...(menu.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      close();
    } else if (step) {
      const at = entries.indexOf(document.activeElement as HTMLElement);
      entries[(at + step + entries.length) % entries.length]?.focus();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <>
      <IconButton
        ref={button}
        icon="more"
        label={label}
        aria-haspopup="menu"
        aria-controls={id}
        onClick={open}
      />
      <div ref={menu} id={id} className="menu" role="menu" popover="auto" onKeyDown={onKeyDown}>
        {items.map((item) =>
          "download" in item ? (
            <a
              key={item.label}
              role="menuitem"
              tabIndex={-1}
              href={item.download}
              download
              onClick={close}
            >
              <Icon name={item.icon} />
              {item.label}
            </a>
          ) : (
            <button
              key={item.label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              className={item.danger ? "danger" : ""}
              onClick={() => {
                close();
                item.run();
              }}
            >
              <Icon name={item.icon} />
              {item.label}
            </button>
          ),
        )}
      </div>
    </>
  );
}
