import react from "@vitejs/plugin-react";
import { defineConfig, loadEnv } from "vite";

const { SESSILE_SERVER: server = "http://127.0.0.1:8787" } = loadEnv("", ".", "SESSILE_");

export default defineConfig({
  // The server may be mounted under any path.
  base: "./",
  plugins: [react()],
  resolve: {
    alias: {
      // Its variant for browsers decodes entities by innerHTML, which the Content-Security-Policy forbids.
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
    // The licences of the bundled packages require this list.
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
