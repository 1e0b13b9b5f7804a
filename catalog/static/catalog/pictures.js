// Pictures on a product's page: dropped or chosen, shown at once, posted straight to S3, then completed by the shop.
// The page's own form is left as it is: what was typed stays, and may still be saved.
"use strict";

(() => {
  const AT_ONCE = 3;
  const TYPES = { "image/jpeg": 1, "image/png": 1, "image/webp": 1, "image/gif": 1 };

  class Refusal extends Error {}

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
    for (const name of ["dragenter", "dragover"]) {
      zone.addEventListener(name, (event) => {
        if (!event.dataTransfer.types.includes("Files")) return;
        event.preventDefault();
        zone.classList.add("shop-over");
      });
    }
    zone.addEventListener("dragleave", (event) => {
      if (!zone.contains(event.relatedTarget)) zone.classList.remove("shop-over");
    });
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("shop-over");
      take(event.dataTransfer.files);
    });
    // A file that misses the zone must not replace the page and all that was typed.
    for (const name of ["dragover", "drop"]) {
      window.addEventListener(name, (event) => {
        if (event.dataTransfer.types.includes("Files")) event.preventDefault();
      });
    }
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
        await post(begun, row);
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

    async function ask(address, values) {
      const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
      const headers = { "X-CSRFToken": token, Accept: "application/json" };
      let answer;
      try {
        answer = await fetch(address, { method: "POST", body: new URLSearchParams(values), headers });
      } catch {
        throw new Refusal("The shop does not answer: try again in a moment.");
      }
      if (answer.redirected) throw new Refusal("You are signed out: sign in in another window, then try again.");
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Refusal(told.detail || refused(answer.status));
      return told;
    }

    function post({ url, fields }, row) {
      const body = new FormData();
      for (const [name, value] of Object.entries(fields)) body.append(name, value);
      body.append("file", row.file);
      return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open("POST", url);
        request.upload.addEventListener("progress", (event) => {
          if (!event.lengthComputable) return;
          row.bar.value = Math.round((100 * event.loaded) / event.total);
          row.state.textContent = `${row.bar.value} %`;
        });
        request.addEventListener("load", () => {
          if (request.status < 300) return resolve();
          const code = /<Code>(\w+)<\/Code>/.exec(request.responseText);
          reject(new Refusal(`The storage did not take it (${code ? code[1] : request.status}): try again.`));
        });
        request.addEventListener("error", () => reject(new Refusal("The connection was lost: try again.")));
        request.send(body);
      });
    }

    function refused(code) {
      return code === 403 ? "You may not change this product." : `The shop refused it (${code}): try again.`;
    }

    function megabytes(bytes) {
      return (bytes / 2 ** 20).toFixed(1).replace(/\.0$/, "");
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
