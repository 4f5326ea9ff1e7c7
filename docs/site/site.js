/* Names and keys that the theme leaves out: search dialog, copy buttons, tables that are wider than the page; and a
   field that leaves of the tables of settings the rows with all words that are typed. */
addEventListener("load", () => {
  document.querySelector(".md-search").ariaLabel = "Search"
  document.querySelectorAll(".md-code__nav").forEach((one, place) => { one.ariaLabel = `Code block ${place + 1}` })
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap"))
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0
  document.querySelector("#every-setting")?.insertAdjacentHTML("afterend",
    `<label class="settings-filter">Show settings with <input type="search"> <output></output></label>`)
  document.querySelector(".settings-filter input")?.addEventListener("input", ({ target }) => {
    const words = target.value.toLowerCase().split(/\s+/), rows = [...document.querySelectorAll(".md-typeset tbody tr")]
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word))
    target.nextElementSibling.value = `${rows.filter(row => !row.hidden).length} of ${rows.length}`
  })
})
