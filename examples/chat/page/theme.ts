import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from "@mantine/core";

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
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', Menlo, Consolas, monospace",
  headings: { fontWeight: "650" },
});

/** Text with a contrast of at least 4.5 on every background of the page. */
export const variables: CSSVariablesResolver = ({ colors }) => ({
  variables: {},
  light: {
    "--mantine-color-dimmed": colors.gray[7],
    "--mantine-color-orange-light-color": "#8a3f00",
    "--mantine-color-red-light-color": colors.red[9],
    "--mantine-color-yellow-light-color": "#7a5200",
  },
  dark: {
    "--mantine-color-dimmed": colors.dark[1],
    "--mantine-color-orange-light": "#3a2412",
    "--mantine-color-orange-light-color": "#ffb56b",
  },
});
