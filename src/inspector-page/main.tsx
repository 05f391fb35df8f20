import { MantineProvider } from "@mantine/core";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { theme, variables } from "./theme.ts";
import "./mantine.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/bars.css";
import "./styles/controls.css";
import "./styles/table.css";
import "./styles/narrow-table.css";
import "./styles/details.css";
import "./styles/faults.css";

const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto">
        <App />
      </MantineProvider>
    </StrictMode>,
  );
