// Before the first paint: the theme that was chosen here, if any. Without it the system's own holds.
"use strict";
try {
  const chosen = localStorage.getItem("rewardsmith-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* a browser that keeps nothing for files */ }
