import type { ReactNode } from "react";

/** An icon on a grid of 24 pixels. It is decorative, because the label of its button says the same. */
function icon(shape: ReactNode) {
  return function Icon() {
    return (
      <svg
        width="16"
        height="16"
        viewBox="0 0 24 24"
        fill="none"
        stroke="currentColor"
        strokeWidth="2"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
        focusable="false"
      >
        {shape}
      </svg>
    );
  };
}

export const SunIcon = icon(
  <>
    <circle cx="12" cy="12" r="4" />
    <path d="M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4" />
  </>,
);
export const MoonIcon = icon(<path d="M19 14A8 8 0 0 1 10 5a7 7 0 1 0 9 9z" />);

/** The gate of the logo. */
export function Logo() {
  return (
    <svg width="28" height="28" viewBox="0 0 24 24" className="logo" aria-hidden="true" focusable="false">
      <rect width="24" height="24" rx="6" fill="var(--mantine-color-harbor-7)" />
      <path d="M6 20V11a6 6 0 0 1 12 0v9h-3.5v-8.5a2.5 2.5 0 0 0-5 0V20z" fill="#fff" />
    </svg>
  );
}
