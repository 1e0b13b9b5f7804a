// What somebody typed outlives their session: a form that is sent is kept in this tab, and filled in again if it turned
// out that they had to sign in. Any other page that follows means that it arrived, and it is forgotten. Passwords, files
// and hidden fields are never kept; nobody but who typed it gets it back.
(() => {
  const KEY = "vibecode.draft";
  const LONGEST = 60 * 60 * 1000;
  const SKIPPED = new Set(["hidden", "password", "file", "submit", "button", "reset", "image"]);
  const who = new URL(document.currentScript.src).searchParams.get("for"); // nobody on the pages before the sign-in

  const forget = () => sessionStorage.removeItem(KEY);
  const keep = (draft) => sessionStorage.setItem(KEY, JSON.stringify(draft));
  const kept = () => JSON.parse(sessionStorage.getItem(KEY));
  const addressOf = (form) =>
    new URL(form.getAttribute("hx-post") || form.getAttribute("action") || location.href, location.href).pathname;

  const fieldsOf = (form) => {
    const seen = {};
    return [...form.elements]
      .filter((field) => field.name && !SKIPPED.has(field.type))
      .map((field) => {
        seen[field.name] = (seen[field.name] ?? -1) + 1;
        return [`${field.name} ${seen[field.name]}`, field];
      });
  };
  const valueOf = (field) => {
    if (field.options) return [...field.selectedOptions].map((option) => [option.value, option.text]);
    return field.type === "checkbox" || field.type === "radio" ? field.checked : field.value;
  };
  const fill = (field, value) => {
    if (field.options) {
      // A list that searches the server knows only what was chosen.
      value
        .filter(([key]) => ![...field.options].some((option) => option.value === key))
        .forEach(([key, text]) => field.add(new Option(text, key)));
      for (const option of field.options) option.selected = value.some(([key]) => key === option.value);
    } else if (typeof value === "boolean") field.checked = value;
    else field.value = value;
    for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
  };
  const note = (margin, text) => {
    const made = document.createElement("p");
    made.className = `bg-blue-100 font-medium leading-relaxed ${margin} px-3 py-2 rounded-default text-blue-700 dark:bg-blue-500/20 dark:text-blue-400`;
    made.setAttribute("role", "status");
    made.textContent = text;
    return made;
  };
  const putBack = (forms) => {
    const draft = kept();
    if (!draft?.ended || who !== draft.who) return;
    const form = [...forms].find((each) => each.method === "post" && addressOf(each) === draft.address);
    if (!form) return;
    forget();
    const fields = new Map(draft.fields);
    for (const [key, field] of fieldsOf(form)) if (fields.has(key)) fill(field, fields.get(key));
    const files = form.querySelector("input[type=file]") ? " Files have to be chosen again." : "";
    form.prepend(note("m-4", `Your session had ended. What you typed is here again, and is not saved yet.${files}`));
  };

  const send = ({ target: form }) => {
    if (form.method !== "post" || ["login-form", "sign-in-form", "logout-form", "changelist-form"].includes(form.id)) return;
    const fields = fieldsOf(form).map(([key, field]) => [key, valueOf(field)]);
    keep({ who, address: addressOf(form), fields, at: Date.now(), ended: false });
  };
  const open = () => {
    const draft = kept();
    if (!draft) return;
    const over = Date.now() - draft.at > LONGEST || location.pathname.endsWith("/signed-out");
    if (over || (who && (who !== draft.who || !draft.ended))) forget();
    else if (who) putBack(document.forms);
    else {
      keep({ ...draft, ended: true });
      const text = "Your session has ended. What you typed is kept in this tab, and is there again once you have signed in.";
      document.querySelector("#login-form, #sign-in-form")?.before(note("mb-6", text));
    }
  };

  if (who) document.addEventListener("submit", send, true);
  if (who) document.addEventListener("htmx:load", ({ target }) => putBack(target.querySelectorAll("form")));
  document.addEventListener("DOMContentLoaded", open);
})();
