import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from "@mantine/core";

/** The primary color, which the demo page has too. */
const harbor: MantineColorsTuple = [
  "#e9f7f5",
  "#d6ece9",
  "#aed8d2",
  "#82c3ba",
  "#5eb2a7",
  "#45a79a",
  "#2f8f83",
  "#0f6b62",
  "#0b5a52",
  "#054740",
];

export const theme = createTheme({
  colors: { harbor },
  primaryColor: "harbor",
  primaryShade: 7,
  autoContrast: true,
  respectReducedMotion: true,
  defaultRadius: "md",
  cursorType: "pointer",
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  headings: { fontWeight: "650" },
});

/** Text with a contrast of at least 4.5 on every background of the page. */
export const variables: CSSVariablesResolver = ({ colors }) => ({
  variables: {},
  light: { "--mantine-color-dimmed": colors.gray[7] },
  dark: { "--mantine-color-dimmed": colors.dark[1] },
});
