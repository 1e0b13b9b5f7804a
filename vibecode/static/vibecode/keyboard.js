// What unfold's pages lack for somebody without a mouse or without eyes: a way past the sidebar, a main part, keys for
// what only hears clicks, and tables that scroll by the arrows.
(() => {
  // A dialog's form belongs to htmx once it can be seen: bound later, what is sent at once would go to the page below.
  htmx.config.defaultSettleDelay = 0;

  const CLICKED = "a:not([href]), #header-inner span[x-on\\:click]"; // unfold's buttons, which Alpine listens to
  const SCROLLED = ".formset-wrapper, .overflow-x-auto, .overflow-auto";

  const ICONS = ".material-symbols-outlined"; // a font: what it reads as is the name of a drawing
  const NAMES = {
    add: "Add", arrow_back: "Back", cancel: "Remove", close: "Close", dock_to_right: "Sidebar",
    more_horiz: "More", more_vert: "More", search: "Search",
  };

  const wordsOf = (control) => {
    const copy = control.cloneNode(true);
    copy.querySelectorAll(ICONS).forEach((icon) => icon.remove());
    return copy.textContent.trim() || control.ariaLabel || copy.querySelector("img[alt], [aria-label]");
  };

  const reach = (root) => {
    for (const link of root.querySelectorAll(CLICKED)) {
      link.setAttribute("role", "button");
      link.tabIndex = 0;
    }
    for (const icon of root.querySelectorAll(ICONS)) {
      const control = icon.closest("a, button, [role=button]");
      const drawn = icon.textContent.trim();
      if (control && !wordsOf(control)) control.ariaLabel = control.title || (NAMES[drawn] ?? drawn.replaceAll("_", " "));
      if (icon !== control) icon.ariaHidden = "true";
    }
    for (const part of root.querySelectorAll(SCROLLED)) {
      if (part.scrollWidth <= part.clientWidth) continue;
      part.setAttribute("role", "group");
      part.setAttribute("aria-label", "Scrolls sideways");
      part.tabIndex = 0;
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const main = document.getElementById("main") ?? document.getElementById("page");
    if (!main) return;
    main.setAttribute("role", "main");
    if (main.id === "main") {
      const skip = Object.assign(document.createElement("a"), { href: "#main", textContent: "Skip to the page" });
      skip.className = "shop-skip";
      main.tabIndex = -1;
      document.body.prepend(skip);
    }
    reach(document);
  });
  window.addEventListener("load", () => reach(document)); // tables are as wide as their fonts
  window.addEventListener("resize", () => reach(document));
  document.addEventListener("htmx:load", (event) => reach(event.target));
  document.addEventListener("keydown", (event) => {
    if (!["Enter", " "].includes(event.key) || !event.target.matches?.(CLICKED)) return;
    event.preventDefault();
    event.target.click();
  });
})();
