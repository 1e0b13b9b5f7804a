// Packing slips of many orders open in a tab of their own: the list stays as it is, with what was ticked.
document.addEventListener(
  "submit",
  ({ target: form }) => {
    if (form.id === "changelist-form") form.target = form.elements.action?.value === "packing_slips" ? "_blank" : "";
  },
  true,
);
