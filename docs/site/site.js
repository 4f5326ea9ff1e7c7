/* Names and keys that the theme leaves out: search dialog, copy buttons, tables that are wider than the page. */
addEventListener("load", () => {
  document.querySelector(".md-search").ariaLabel = "Search"
  document.querySelectorAll(".md-code__nav").forEach((one, place) => { one.ariaLabel = `Code block ${place + 1}` })
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap"))
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0
})
