// Times in the reader's zone, and figures of what is being recorded that do not stand still.

const REFRESH_MS = 5_000;

const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function localTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    time.title = time.textContent;
    time.textContent = format.format(new Date(time.dateTime));
  }
}

/** Whether somebody is at it: what is read, selected or about to be pressed is not taken away. */
function isInUse(main) {
  return main.contains(document.activeElement) || main.querySelector("details[open]") || !getSelection().isCollapsed;
}

async function refresh() {
  const main = document.querySelector("main");
  if (document.hidden || isInUse(main)) return;
  const answer = await fetch(location.href, { signal: AbortSignal.timeout(REFRESH_MS) });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  localTimes(fresh);
  if (!isInUse(main)) main.replaceWith(fresh.querySelector("main"));
  document.querySelector("nav").replaceWith(fresh.querySelector("nav"));
}

localTimes(document);
setInterval(() => {
  // A server that is away for a while is asked again.
  if ("live" in document.querySelector("main").dataset) refresh().catch(() => {});
}, REFRESH_MS);
