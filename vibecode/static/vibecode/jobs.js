// A file for a job: chosen or dropped, posted straight to S3, then read by the shop in the background.
"use strict";

(() => {
  const { Refusal, ask, megabytes, post } = uploads;

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
    uploads.onDrop(zone, (files) => take(files[0]));

    async function take(file) {
      if (!file || input.disabled) return;
      input.disabled = true;
      said.classList.remove("shop-down");
      try {
        if (!file.size) throw new Refusal("The file is empty: choose another one.");
        if (file.size > most) throw new Refusal(`It has ${megabytes(file.size)} MB; ${megabytes(most)} are the most: split it.`);
        say(`Uploading ${file.name}`);
        const begun = await ask(drop.dataset.begin, { kind: drop.dataset.kind || "", name: file.name, size: file.size });
        bar.hidden = false;
        await post(begun, file, (percent) => {
          bar.value = percent;
        });
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
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".shop-file").forEach(start));
})();
