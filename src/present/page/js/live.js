// A served page follows its study: it is told that something changed, and takes the page anew.

const follow = (events, renewed) => {
  const tell = (text) => { const place = byId("live"); if (place) place.textContent = text; };
  let busy = false;
  let again = false;
  const renew = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // What has figures now and had none is another page.
      if (Boolean(page.getElementById("data")) !== Boolean(byId("data"))) { location.reload(); return; }
      const open = [...document.querySelectorAll("details")].map((details) => details.open);
      const at = window.scrollY;
      byId("main").replaceWith(document.adoptNode(page.getElementById("main")));
      if (byId("data")) byId("data").textContent = page.getElementById("data").textContent;
      document.querySelectorAll("details").forEach((details, index) => { details.open = open[index] ?? false; });
      renewed();
      window.scrollTo(0, at);
      tell(`follows the study; taken anew at ${new Date().toLocaleTimeString()}`);
    } catch (error) {
      tell(`cannot take the page anew: ${error.message}`);
    }
    busy = false;
    if (again) { again = false; renew(); }
  };
  const source = new EventSource(events);
  source.addEventListener("open", () => tell("follows the study"));
  source.addEventListener("changed", renew);
  source.addEventListener("error", () => tell("the connection is lost; it is tried again"));
};
