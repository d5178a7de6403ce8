import "./style.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { applyTheme, theme } from "./state/theme.ts";
import { App } from "./view/App.tsx";

applyTheme();
theme.watch(applyTheme);

const root = document.getElementById("page");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
