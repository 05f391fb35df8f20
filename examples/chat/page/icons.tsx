import type { ReactNode } from "react";

/** The icons of the page, on a grid of 24 pixels. They are decorative: a text or label says the same. */
function icon(shape: ReactNode) {
  return function Icon({ size = 16 }: { readonly size?: number }) {
    return (
      <svg
        width={size}
        height={size}
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

export const LockIcon = icon(
  <>
    <rect x="5" y="11" width="14" height="9" rx="2" />
    <path d="M8 11V8a4 4 0 0 1 8 0v3" />
  </>,
);
export const ClockIcon = icon(
  <>
    <circle cx="12" cy="12" r="8" />
    <path d="M12 8v4l3 2" />
  </>,
);
export const TrashIcon = icon(<path d="M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12" />);
export const SendIcon = icon(<path d="M4 12 20 5l-5 15-4-6z M11 14l9-9" />);
export const CheckIcon = icon(<path d="m5 13 4 4L19 7" />);
export const CrossIcon = icon(<path d="M6 6l12 12M18 6 6 18" />);
export const BoltIcon = icon(<path d="M13 3 5 14h6l-1 7 8-11h-6z" />);
export const NextIcon = icon(<path d="m9 6 6 6-6 6" />);
export const MoreIcon = icon(
  <g fill="currentColor" stroke="none">
    <circle cx="5" cy="12" r="2" />
    <circle cx="12" cy="12" r="2" />
    <circle cx="19" cy="12" r="2" />
  </g>,
);
export const CopyIcon = icon(
  <>
    <rect x="9" y="9" width="11" height="11" rx="2" />
    <path d="M5 15V5a1 1 0 0 1 1-1h9" />
  </>,
);
export const KeyIcon = icon(
  <>
    <circle cx="8" cy="15" r="4" />
    <path d="m11 12 8-8M16 7l3 3" />
  </>,
);
export const PlugIcon = icon(<path d="M9 3v5M15 3v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4" />);
export const SunIcon = icon(
  <>
    <circle cx="12" cy="12" r="4" />
    <path d="M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4" />
  </>,
);
export const MoonIcon = icon(<path d="M19 14A8 8 0 0 1 10 5a7 7 0 1 0 9 9z" />);
export const ChatIcon = icon(<path d="M4 5h16v11H9l-5 4z" />);
export const PeopleIcon = icon(
  <>
    <circle cx="9" cy="8" r="3" />
    <path d="M3 19c0-3 3-5 6-5s6 2 6 5M16 5a3 3 0 0 1 0 6M21 19c0-2.500-1.500-4-3.500-4.700" />
  </>,
);
export const ChevronIcon = icon(<path d="m6 9 6 6 6-6" />);

/** The gate of the logo. */
export function Logo() {
  return (
    <svg
      width="28"
      height="28"
      viewBox="0 0 24 24"
      style={{ flex: "none" }}
      aria-hidden="true"
      focusable="false"
    >
      <rect width="24" height="24" rx="6" fill="var(--mantine-color-harbor-7)" />
      <path d="M6 20V11a6 6 0 0 1 12 0v9h-3.5v-8.5a2.5 2.5 0 0 0-5 0V20z" fill="#fff" />
    </svg>
  );
}
