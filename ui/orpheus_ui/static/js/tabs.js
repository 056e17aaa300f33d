// The page's other tabs in this browser: what one does, the others hear.

const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("orpheus") : null;

/** Tell the other tabs that something `happened`: "history" has changed, or "playing" has begun. */
export const tell = (happened) => channel?.postMessage(happened);

/** Call `react` when another tab tells it. */
export function onTold(happened, react) {
  channel?.addEventListener("message", ({ data }) => data === happened && react());
}
