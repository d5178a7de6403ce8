import { kept } from "./kept.ts";

export type Theme = "system" | "light" | "dark";

export const theme = kept<Theme>("theme", "system", "person");

export function applyTheme(): void {
  document.documentElement.dataset.theme = theme.value;
}
