import { createTheme, MantineProvider } from "@mantine/core";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import "./mantine.css";
import "./styles.css";

/** The default shade of Mantine has too little contrast with white text. */
const theme = createTheme({
  primaryShade: 8,
  defaultRadius: "sm",
  cursorType: "pointer",
  fontFamily: "system-ui, sans-serif",
});

const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} defaultColorScheme="auto">
        <App />
      </MantineProvider>
    </StrictMode>,
  );
