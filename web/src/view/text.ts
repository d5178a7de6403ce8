/** Safe text and URLs, and formats of numbers and times. */

import { toJson } from "../wire/json.ts";

// Control (Cc) and format (Cf) characters, separators of lines, and whatever else is not shown (DI),
// except line ends, tabs, and what joins letters and emoji or says how they look.
const HIDDEN = /(?!\ufe0e|\ufe0f|[\t\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{DI}\u2800]/gu;

/** Make characters visible that reorder or hide others, in text that people check before they approve it. */
export function unhidden(text: string): string {
  return text.replace(
    HIDDEN,
    (found) => `⟨U+${(found.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** The URL if a link may lead there: an absolute http, https or mailto URL. */
export function safeLink(address: string): string | undefined {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : undefined;
  } catch {
    return undefined;
  }
}

/** The URL if the image is inline: loading another one would reveal to its server what is read here. */
export function ownImage(address: string): string | undefined {
  return /^data:image\/(png|jpeg|gif|webp|avif|svg\+xml)[;,]/i.test(address) ? address : undefined;
}

const number = new Intl.NumberFormat("en");
const money = new Intl.NumberFormat("en", {
  style: "currency",
  currency: "USD",
  maximumSignificantDigits: 2,
});

export function count(value: number): string {
  return number.format(value);
}

export function dollars(value: number): string {
  return money.format(value);
}

/** JSON as readable text; a string as it is. */
export function shown(value: unknown): string {
  return typeof value === "string" ? value : toJson(value, 2);
}

// Created once: creating one takes longer than rendering a message.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const oldDay = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** A time or date in few characters. */
export function when(seconds: number): string {
  const date = new Date(seconds * 1000);
  const now = new Date();
  if (date.getFullYear() !== now.getFullYear()) return oldDay.format(date);
  const isToday = date.getMonth() === now.getMonth() && date.getDate() === now.getDate();
  return (isToday ? clock : day).format(date);
}
