// A file for a job: chosen or dropped, posted straight to S3, then read by the shop in the background.
"use strict";

(() => {
  class Refusal extends Error {}

  function start(drop) {
    const zone = drop.querySelector(".shop-drop-zone");
    const input = drop.querySelector("input[type=file]");
    const bar = drop.querySelector("progress");
    const said = drop.querySelector("[role=status]");
    const most = Number(drop.dataset.most);

    drop.hidden = false;
    // On its way to the input, where unfold would write the name into whatever field of text stands near.
    zone.addEventListener("change", (event) => {
      event.stopPropagation();
      take(input.files[0]);
    }, true);
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
      take(event.dataTransfer.files[0]);
    });

    async function take(file) {
      if (!file || input.disabled) return;
      input.disabled = true;
      said.classList.remove("shop-down");
      try {
        if (!file.size) throw new Refusal("The file is empty: choose another one.");
        if (file.size > most) throw new Refusal(`It has ${megabytes(file.size)} MB; ${megabytes(most)} are the most: split it.`);
        say(`Uploading ${file.name}`);
        const begun = await ask(drop.dataset.begin, { kind: drop.dataset.kind || "", name: file.name, size: file.size });
        await post(begun, file);
        say("Stored. It is being read.");
        const { page } = await ask(begun.stored, {});
        if (new URL(page, location.href).pathname === location.pathname) location.reload();
        else location.assign(page);
      } catch (error) {
        said.classList.add("shop-down");
        say(error instanceof Refusal ? error.message : "Something went wrong in this page: load it anew.");
        bar.hidden = true;
        input.disabled = false;
        input.value = "";
        if (!(error instanceof Refusal)) throw error;
      }
    }

    function say(text) {
      said.textContent = text;
    }

    async function ask(address, values) {
      const token = drop.querySelector("[name=csrfmiddlewaretoken]").value;
      const headers = { "X-CSRFToken": token, Accept: "application/json" };
      let answer;
      try {
        answer = await fetch(address, { method: "POST", body: new URLSearchParams(values), headers });
      } catch {
        throw new Refusal("The shop does not answer: try again in a moment.");
      }
      if (answer.redirected) throw new Refusal("You are signed out: sign in in another window, then try again.");
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Refusal(told.detail || `The shop refused it (${answer.status}): try again.`);
      return told;
    }

    function post({ url, fields }, file) {
      const body = new FormData();
      for (const [name, value] of Object.entries(fields)) body.append(name, value);
      body.append("file", file);
      bar.hidden = false;
      return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open("POST", url);
        request.upload.addEventListener("progress", (event) => {
          if (event.lengthComputable) bar.value = Math.round((100 * event.loaded) / event.total);
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

    function megabytes(bytes) {
      return (bytes / 2 ** 20).toFixed(1).replace(/\.0$/, "");
    }
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".shop-file").forEach(start));
})();
