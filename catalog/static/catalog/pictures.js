// Pictures on a product's page: dropped or chosen, shown at once, posted straight to S3, then completed by the shop.
// The page's own form is left as it is: what was typed stays, and may still be saved.
"use strict";

(() => {
  const { Refusal, ask, megabytes, post } = uploads;
  const AT_ONCE = 3;
  const TYPES = { "image/jpeg": 1, "image/png": 1, "image/webp": 1, "image/gif": 1 };

  function start(drop) {
    const group = drop.closest("[data-inline-type]");
    const zone = drop.querySelector(".shop-drop-zone");
    const input = drop.querySelector("input[type=file]");
    const list = drop.querySelector(".shop-uploads");
    const log = drop.querySelector("[role=log]");
    const most = Number(drop.dataset.most);
    const waiting = [];
    let running = 0;
    let stored = 0;
    let turn = Promise.resolve(); // begun one after the other, so that pictures stand in the order of their files

    drop.hidden = false;
    group.classList.add("shop-has-drop");

    // --- choosing -------------------------------------------------------------------------------------------------
    input.addEventListener("change", (event) => {
      event.stopPropagation(); // no field of the form: nothing there is unsaved
      take(input.files);
      input.value = "";
    });
    uploads.onDrop(zone, take);
    window.addEventListener("beforeunload", (event) => {
      if (running || waiting.length) event.preventDefault();
    });

    function take(files) {
      for (const file of files) {
        const row = makeRow(file);
        list.append(row.element);
        waiting.push(row);
      }
      work();
    }

    // --- one row for each file ------------------------------------------------------------------------------------
    function makeRow(file) {
      const element = drop.querySelector("template").content.firstElementChild.cloneNode(true);
      const find = (selector) => element.querySelector(selector);
      const image = find("img");
      const row = { file, element, bar: find("progress"), state: find(".shop-upload-state") };
      find(".shop-upload-name").textContent = file.name;
      row.bar.setAttribute("aria-label", `Upload of ${file.name}`);
      image.src = URL.createObjectURL(file);
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      image.addEventListener("error", () => image.replaceWith(noPreview()), { once: true });
      row.retry = find("[data-do=retry]");
      row.dismiss = find("[data-do=dismiss]");
      row.retry.setAttribute("aria-label", `Try ${file.name} again`);
      row.dismiss.setAttribute("aria-label", `Dismiss ${file.name}`);
      row.retry.addEventListener("click", () => {
        input.focus();
        waiting.push(row);
        work();
      });
      row.dismiss.addEventListener("click", () => {
        input.focus();
        element.remove();
      });
      say(row, "waiting", "Waiting");
      return row;
    }

    function noPreview() {
      const look = { className: "shop-picture shop-none material-symbols-outlined", textContent: "broken_image" };
      return Object.assign(document.createElement("span"), look, { ariaHidden: "true" });
    }

    function say(row, state, text) {
      row.element.dataset.state = state;
      row.state.textContent = text;
      row.retry.hidden = row.dismiss.hidden = state !== "failed";
      row.bar.hidden = state === "done" || state === "failed";
    }

    // One after the other: what is put in place of a sentence that was not read out yet is lost.
    function announce(text) {
      log.append(Object.assign(document.createElement("p"), { textContent: text }));
      while (log.childElementCount > 20) log.firstElementChild.remove();
    }

    // --- the work ---------------------------------------------------------------------------------------------------
    function work() {
      while (running < AT_ONCE && waiting.length) {
        running += 1;
        upload(waiting.shift()).finally(() => {
          running -= 1;
          if (running || waiting.length) work();
          else if (stored) finish();
        });
      }
    }

    async function upload(row) {
      const { file } = row;
      try {
        if (!TYPES[file.type]) throw new Refusal("It is no JPEG, PNG, WebP or GIF, which every browser shows.");
        if (file.size > most) throw new Refusal(`It has ${megabytes(file.size)} MB; at most ${megabytes(most)} are taken.`);
        row.bar.value = 0;
        say(row, "running", "Uploading");
        announce(`Uploading ${file.name}`);
        const beginning = turn.then(() => ask(drop.dataset.begin, { content_type: file.type, size: file.size }));
        turn = beginning.catch(() => {});
        const begun = await beginning;
        await post(begun, file, (percent) => {
          row.bar.value = percent;
          row.state.textContent = `${percent} %`;
        });
        row.bar.removeAttribute("value");
        say(row, "running", "Looking at it");
        const shown = await ask(drop.dataset.complete.replace(/\/0\//, `/${begun.id}/`), {});
        keepVersion(shown.version);
        stored += 1;
        say(row, "done", "Added");
        announce(`${file.name} was added`);
      } catch (error) {
        const why = error instanceof Refusal ? error.message : "Something went wrong in this page: load it anew.";
        say(row, "failed", why);
        announce(`${file.name} was not added. ${why}`);
        if (!(error instanceof Refusal)) throw error;
      }
    }

    // --- the page around it -----------------------------------------------------------------------------------------
    // Each picture makes one more version of the product. Where only we made it, the form still is at the last one;
    // else somebody else was here, and the form says so when it is saved.
    const made = new Set();

    function keepVersion(version) {
      const seen = document.querySelector("[name=seen_version]");
      if (!seen) return;
      made.add(version);
      while (made.has(Number(seen.value) + 1)) seen.value = Number(seen.value) + 1;
    }

    async function finish() {
      stored = 0;
      try {
        const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
        const now = group.querySelector(".formset-wrapper");
        const next = page.getElementById(group.id).querySelector(".formset-wrapper");
        carryTyped(now, next);
        now.replaceWith(next);
        for (const row of list.querySelectorAll("[data-state=done]")) row.remove();
      } catch {
        announce("All were added; load the page anew to see them in the list.");
      }
    }

    function carryTyped(now, next) {
      const places = (wrapper) =>
        new Map([...wrapper.querySelectorAll("input[name$='-id']")].filter((id) => id.value).map((id) => [id.value, id.name.slice(0, -2)]));
      const after = places(next);
      for (const [id, place] of places(now)) {
        for (const field of now.querySelectorAll(`[name^="${place}"]`)) {
          const other = next.querySelector(`[name="${after.get(id)}${field.name.slice(place.length)}"]`);
          if (!other || field.type === "hidden") continue;
          if (field.type === "checkbox") other.checked = field.checked;
          else if (field.type !== "file" && field.value !== field.defaultValue) other.value = field.value;
        }
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".shop-drop").forEach(start));
})();
