import type { ComponentProps } from "react";
import { Icon, type IconName } from "./icons.tsx";

type Given = Omit<ComponentProps<"button">, "type" | "aria-label"> & {
  icon: IconName;
  /** The accessible name, and the tooltip. */
  label: string;
};

/** A button with an icon. */
export function IconButton({ icon, label, className = "", ...others }: Given) {
  return (
    <button
      type="button"
      className={`icon-button ${className}`}
      aria-label={label}
      title={label}
      {...others}
    >
      <Icon name={icon} />
    </button>
  );
}
