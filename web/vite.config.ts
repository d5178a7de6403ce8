import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const server = "http://127.0.0.1:8787";

export default defineConfig({
  // The server may be mounted under any path.
  base: "./",
  plugins: [react()],
  build: {
    outDir: "../src/sessile/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ["/chat", "/sessions", "/search"].map((path) => [path, { target: server, ws: true }]),
    ),
  },
});
