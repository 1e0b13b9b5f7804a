// What the places for files share: a file is dropped, the shop is asked where to put it, and it goes straight to S3.
// Loaded before the scripts that use it.
"use strict";

const uploads = (() => {
  // Its message is a sentence for the person in front of the page.
  class Refusal extends Error {}

  // Call `take` with the files that are dropped on the zone.
  function onDrop(zone, take) {
    const filesOnly = (work) => (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      work(event);
    };
    const over = filesOnly(() => zone.classList.add("shop-over"));
    zone.addEventListener("dragenter", over);
    zone.addEventListener("dragover", over);
    zone.addEventListener("dragleave", (event) => {
      if (!zone.contains(event.relatedTarget)) zone.classList.remove("shop-over");
    });
    zone.addEventListener("drop", filesOnly((event) => {
      zone.classList.remove("shop-over");
      take(event.dataTransfer.files);
    }));
    // A file that misses the zone must not replace the page and all that was typed.
    for (const name of ["dragover", "drop"]) window.addEventListener(name, filesOnly(() => {}));
  }

  // What the shop answers; throws a Refusal where it says no, or nothing.
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
    if (answer.ok) return told;
    const refused = answer.status === 403 ? "You may not do this." : `The shop refused it (${answer.status}): try again.`;
    throw new Refusal(told.detail || refused);
  }

  // Post a file with a form of S3's; `progress` is told the percentage.
  function post({ url, fields }, file, progress) {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
    body.append("file", file);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", url);
      request.upload.addEventListener("progress", (event) => {
        if (event.lengthComputable) progress(Math.round((100 * event.loaded) / event.total));
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

  return { Refusal, onDrop, ask, post, megabytes };
})();
