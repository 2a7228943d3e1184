/* What the pages do by themselves.  Without this, they show the same, and are loaded anew by hand. */

"use strict";

(() => {
  const LEAST = 2000; /* milliseconds between two looks at the server, at least */
  const SHARE = 10; /* and so many times as many as the last look took */
  const WITHOUT_EVENTS = 5000; /* and, at most, where no events come */
  const main = document.querySelector("main[data-live]");
  const sign = document.getElementById("live");

  /* Times in the viewer's zone. */

  const whole = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

  function inZone(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const said = whole.format(at);
      if (time.classList.contains("ago")) time.title = said;
      else time.textContent = said;
    }
  }

  function nameZone() {
    const zone = document.getElementById("zone");
    if (zone) zone.textContent = `Times are in the zone ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`;
  }

  /* A page that is open becomes the page as it is now: what is the same stays, with its focus, its scroll, and
     what was typed into it. */

  const keyOf = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") || node.id || "" : "");

  function become(old, now) {
    if (old.isEqualNode(now)) return;
    if (old.nodeType !== 1) {
      old.nodeValue = now.nodeValue;
      return;
    }
    attributes(old, now);
    const keyed = new Map();
    for (const child of old.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
    let place = old.firstChild;
    for (const child of [...now.childNodes]) {
      const key = keyOf(child);
      let same = key ? keyed.get(key) : place;
      if (!key) {
        /* What has a key is never taken for something else. */
        while (same && keyOf(same)) same = same.nextSibling;
      }
      if (same && same.nodeName === child.nodeName) {
        if (same !== place) old.insertBefore(same, place);
        else place = place.nextSibling;
        become(same, child);
      } else {
        old.insertBefore(child, place);
      }
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  function attributes(old, now) {
    const mine = old === document.activeElement ? ["value", "checked"] : [];
    if (old.nodeName === "DETAILS") mine.push("open");
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && !mine.includes(name)) old.removeAttribute(name);
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value && !mine.includes(name)) old.setAttribute(name, value);
    }
  }

  /* When to look. */

  let last = Date.now(); /* when the page was as it is */
  let took = 0;
  let waiting = null;
  let asking = false;
  let events = null;
  let ended = false;

  const selecting = () => {
    const selection = getSelection();
    return selection && !selection.isCollapsed && main.contains(selection.anchorNode);
  };

  function say(kind, text) {
    if (!sign) return;
    sign.className = `live ${kind}`;
    if (sign.textContent !== text) sign.textContent = text;
  }

  function soon() {
    look(Math.max(last + Math.max(LEAST, SHARE * took) - Date.now(), 0));
  }

  function look(milliseconds) {
    const at = Date.now() + milliseconds;
    if (ended || document.hidden || asking || (waiting && waiting.at <= at)) return;
    if (waiting) clearTimeout(waiting.timer);
    waiting = { at, timer: setTimeout(ask, milliseconds) };
  }

  function again() {
    const following = events && events.readyState === EventSource.OPEN;
    look(following ? 1000 * Number(main.dataset.live) : WITHOUT_EVENTS);
  }

  async function ask() {
    waiting = null;
    if (selecting()) {
      say("", "held while text is selected");
      look(LEAST);
      return;
    }
    asking = true;
    const begun = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.redirected) {
        ended = true;
        say("off", "logged out; load the page anew");
        if (events) events.close();
        return;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.querySelector("main[data-live]");
      if (!answer.ok || !now) {
        say("off", answer.status === 404 ? "no longer there" : "the server cannot answer now");
      } else if (!selecting()) {
        inZone(now);
        reachable(now);
        become(main, now);
        enhance();
        say("on", "live");
      }
    } catch (error) {
      say("off", "the server is not there");
    } finally {
      asking = false;
      last = Date.now();
      took = last - begun;
      again();
    }
  }

  function follow() {
    if (ended || document.hidden) return;
    if (!events || events.readyState === EventSource.CLOSED) {
      events = new EventSource("/events?event=changed");
      events.addEventListener("changed", soon);
      events.addEventListener("open", () => say("on", "live"));
    }
    again();
  }

  function rest() {
    if (events) events.close();
    events = null;
    if (waiting) clearTimeout(waiting.timer);
    waiting = null;
  }

  /* Charts say what is at the pointer. */

  const pointed = new Map(); /* chart: time that is pointed at */

  function point(chart) {
    const at = pointed.get(chart.id);
    const numbers = JSON.parse(chart.dataset.chart);
    const drawing = chart.querySelector("svg");
    let line = drawing.querySelector(".pointer");
    if (at === undefined || !numbers.at.length) {
      if (line) line.remove();
      chart.querySelectorAll(".legend b").forEach((said, index) => {
        said.textContent = numbers.lines[index].said.at(-1) || "–";
      });
      chart.querySelector(".axis-x span:last-child").textContent = "now";
      return;
    }
    let nearest = 0;
    numbers.at.forEach((each, index) => {
      if (Math.abs(each - at) < Math.abs(numbers.at[nearest] - at)) nearest = index;
    });
    if (!line) {
      line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      line.setAttribute("class", "pointer");
      drawing.append(line);
    }
    const box = drawing.viewBox.baseVal;
    const x = (Math.max(numbers.at[nearest] - numbers.begin, 0) / (numbers.end - numbers.begin)) * box.width;
    for (const [name, value] of [["x1", x], ["x2", x], ["y1", 0], ["y2", box.height]]) line.setAttribute(name, value.toFixed(1));
    chart.querySelectorAll(".legend b").forEach((said, index) => {
      said.textContent = numbers.lines[index].said[nearest] || "–";
    });
    chart.querySelector(".axis-x span:last-child").textContent = `at ${clock.format(new Date(1000 * numbers.at[nearest]))}`;
  }

  /* Charts can be gone through by the keyboard where there is a script, and only there. */
  function reachable(root) {
    for (const drawing of root.querySelectorAll("figure[data-chart] .drawing")) drawing.tabIndex = 0;
  }

  function follows(chart) {
    const drawing = chart.querySelector(".drawing");
    drawing.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const { at } = JSON.parse(chart.dataset.chart);
      if (!way || !at.length) return;
      event.preventDefault();
      const here = pointed.has(chart.id) ? at.findIndex((each) => each >= pointed.get(chart.id) - 0.5) : at.length;
      pointed.set(chart.id, at[Math.min(Math.max((here < 0 ? at.length : here) + way, 0), at.length - 1)]);
      point(chart);
    });
    drawing.addEventListener("blur", () => {
      pointed.delete(chart.id);
      point(chart);
    });
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const { begin, end } = JSON.parse(chart.dataset.chart);
      pointed.set(chart.id, begin + ((event.clientX - box.left) / box.width) * (end - begin));
      point(chart);
    });
    drawing.addEventListener("pointerleave", () => {
      pointed.delete(chart.id);
      point(chart);
    });
  }

  /* Forms. */

  const boxesOf = (all) => [...all.form.elements].filter((each) => each.type === "checkbox" && each.name === all.dataset.all);

  function enhance() {
    for (const field of document.querySelectorAll("input[data-phrase]")) {
      field.form.querySelector("button[type=submit]").disabled = field.value.trim() !== field.dataset.phrase;
    }
    for (const all of document.querySelectorAll("input[data-all]")) {
      const boxes = boxesOf(all);
      const chosen = boxes.filter((box) => box.checked).length;
      all.checked = chosen > 0 && chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
      all.closest("[hidden]")?.removeAttribute("hidden");
      all.form.querySelector("button[type=submit]").disabled = chosen === 0;
      all.form.querySelector("[data-count]").textContent = chosen ? `${chosen} chosen` : "";
    }
    for (const chart of document.querySelectorAll("figure[data-chart]")) if (pointed.has(chart.id)) point(chart);
  }

  document.addEventListener("input", (event) => {
    const field = event.target;
    if (field.dataset.all) for (const box of boxesOf(field)) box.checked = field.checked;
    if (field.dataset.phrase !== undefined || field.type === "checkbox") enhance();
  });

  /* A form is sent once. */
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

  inZone(document);
  reachable(document);
  nameZone();
  enhance();
  document.querySelectorAll("figure[data-chart]").forEach(follows);

  /* The notice is shown once. */
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done");
    history.replaceState(null, "", address);
  }

  if (main) {
    follow();
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) rest();
      else {
        follow();
        look(0);
      }
    });
    /* The browser tries again by itself, but for an answer that is none. */
    setInterval(follow, 10000);
  }
})();
