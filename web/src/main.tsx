import "./style/base.css";
import "./style/sidebar.css";
import "./style/conversation.css";
import "./style/parts.css";
import "./style/questions.css";
import "./style/markdown.css";
import "./style/composer.css";
import "./style/overlays.css";
import "./style/adapted.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { applyTheme, theme } from "./state/theme.ts";
import { App } from "./view/App.tsx";

applyTheme();
theme.watch(applyTheme);

const root = document.getElementById("page");
if (root) {
  // An error boundary shows the text in another way, so this is no error for the console.
  const onCaughtError = (error: unknown) => console.warn(error);
  createRoot(root, { onCaughtError }).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
