/** A UUID of version 7: unique, and sorted by the millisecond in which it was created. */
export function newId(): string {
  // crypto.randomUUID exists on secure origins only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let stamp = Date.now();
  for (let at = 5; at >= 0; at--) {
    bytes[at] = stamp % 256;
    stamp = Math.floor(stamp / 256);
  }
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
