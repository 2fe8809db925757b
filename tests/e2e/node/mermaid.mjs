// Draws a Mermaid diagram (standard input) in Chromium, and prints the picture. Fails where Mermaid can't read it.
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

let text = "";
for await (const part of process.stdin) text += part;
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  // The tests run as root in a container, where Chromium has no sandbox of its own.
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
try {
  const page = await browser.newPage();
  const path = createRequire(import.meta.url).resolve("mermaid").replace(/[^/]*$/, "mermaid.min.js");
  await page.addScriptTag({ path });
  const svg = await page.evaluate(async (text) => {
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict" });
    await mermaid.parse(text);
    return (await mermaid.render("mesh", text)).svg;
  }, text);
  console.log(svg);
} finally {
  await browser.close();
}
