// The page itself: the theme's button, the place in the navigation, the explorer.

function theme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => (button.textContent = isDark() ? "Light theme" : "Dark theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    // Choosing what the system has anyway is choosing to follow it.
    if ((chosen === "dark") === system.matches) delete root.dataset.theme;
    else root.dataset.theme = chosen;
    try {
      if (root.dataset.theme) localStorage.setItem("rewardsmith-theme", chosen);
      else localStorage.removeItem("rewardsmith-theme");
    } catch { /* a browser that keeps nothing for files */ }
    name();
  });
  system.addEventListener("change", name);
  name();
}

function whereWeAre() {
  const links = new Map([...document.querySelectorAll("nav a[href^='#']")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const watch = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target.id) : seen.delete(target.id);
      const here = [...links.keys()].find((id) => seen.has(id));
      for (const [id, link] of links) id === here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  for (const id of links.keys()) {
    const section = document.getElementById(id);
    if (section) watch.observe(section);
  }
}

theme();
whereWeAre();
explore();
