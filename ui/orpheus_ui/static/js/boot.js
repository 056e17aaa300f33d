// Before all else: light or dark as it was chosen, and words where the page cannot be loaded. No module, so that it
// runs before the first picture and whatever happens to them.

(() => {
  const page = document.documentElement;
  try {
    const theme = JSON.parse(localStorage.getItem("orpheus.theme"));
    if (theme === "light" || theme === "dark") page.dataset.theme = theme;
  } catch {
    // the system's, then
  }

  function fail() {
    if (page.dataset.ready === undefined) document.getElementById("failed")?.removeAttribute("hidden");
  }
  const failed = (event) => {
    const { target } = event;
    if (!(target instanceof Element) || target.localName === "script") fail();
  };
  addEventListener("error", failed, true);
  addEventListener("unhandledrejection", failed);
})();
