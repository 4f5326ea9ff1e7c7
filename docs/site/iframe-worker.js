/* Search on pages that are opened from the disk: browsers start no Worker there, so a hidden frame runs its script. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.title = "search"
      const lines = [
        "postMessage = data => parent.postMessage(data, '*')",
        "importScripts = (...all) => all.reduce((before, one) => before.then(() => new Promise(done => {",
        "  const script = document.createElement('script')",
        "  script.src = one; script.onload = done; document.body.append(script)",
        "})), Promise.resolve())",
      ]
      const text = `<body><script>${lines.join("\n")}<\/script><script src="${script}"><\/script>`
      this.ready = new Promise(done => { this.frame.onload = done })
      this.frame.srcdoc = text
      document.body.append(this.frame)
      window.addEventListener("message", event => {
        if (event.source === this.frame.contentWindow)
          this.dispatchEvent(new MessageEvent("message", { data: event.data }))
      })
    }
    postMessage(data) {
      const event = new MessageEvent("message", { data })
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(event))
    }
    terminate() { this.frame.remove() }
  }
}
