import react from "@vitejs/plugin-react";
import { defineConfig, loadEnv } from "vite";

const { SESSILE_SERVER: server = "http://127.0.0.1:8787" } = loadEnv("", ".", "SESSILE_");

export default defineConfig({
  // The server may be mounted under any path.
  base: "./",
  plugins: [react()],
  resolve: {
    alias: {
      // What it has for browsers reads entities by innerHTML, which the page's policy forbids.
      "decode-named-character-reference": new URL(
        "node_modules/decode-named-character-reference/index.js",
        import.meta.url,
      ).pathname,
    },
  },
  build: {
    outDir: "../src/sessile/web",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // Of everything that is in it, as their licences ask.
    license: { fileName: "licenses.md" },
  },
  server: {
    proxy: Object.fromEntries(
      ["/chat", "/info", "/sessions", "/search"].map((path) => [
        path,
        { target: server, ws: true },
      ]),
    ),
  },
});
