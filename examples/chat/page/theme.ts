import { createTheme, type MantineColorsTuple } from "@mantine/core";

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
  primaryShade: { light: 7, dark: 6 },
  autoContrast: true,
  respectReducedMotion: true,
  defaultRadius: "md",
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', Menlo, Consolas, monospace",
  headings: { fontWeight: "650" },
});
