// Opens the page of `effdet serve` in Chromium, drops a picture on it, and checks that its boxes appear.
//
//     npm install playwright-core
//     effdet serve --weights ... --listen 127.0.0.1:8080
//     node tools/browser/check_page.mjs http://127.0.0.1:8080/ picture.png [--screenshots FOLDER]
//
// CHROMIUM names the browser (/usr/bin/chromium). Exit status 1 if a check fails.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, picture, option, folder] = process.argv.slice(2);
assert(url && picture && (option === undefined || (option === "--screenshots" && folder)), "see the first lines");
const profile = mkdtempSync(join(tmpdir(), "check-page-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  viewport: { width: 1100, height: 720 },
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
  ],
});
const page = await browser.newPage();
const complaints = [];
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith("blob:")) complaints.push(request.url());
});
page.on("console", (message) => {
  // A refusal that the page shows is logged by the browser as well.
  if (message.type() === "error" && !message.text().includes("status of 4")) complaints.push(message.text());
});
const shoot = async (name) => {
  if (folder) {
    mkdirSync(folder, { recursive: true });
    await page.screenshot({ path: join(folder, `${name}.png`) });
  }
};

/// Drops a file as the system does.
async function drop(bytes, name, type) {
  const data = await page.evaluateHandle(([base64, name, type]) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type }));
    return data;
  }, [bytes.toString("base64"), name, type]);
  await page.dispatchEvent("#drop", "drop", { dataTransfer: data });
}

const items = () => page.locator("#list li").count();
const setScore = (value) => page.locator("#score").fill(String(value));

try {
  const bytes = readFileSync(picture);
  const type = picture.endsWith(".png") ? "image/png" : "image/jpeg";
  await page.goto(url);
  await page.locator("#model:not(:empty)").waitFor();
  await shoot("empty");

  await drop(bytes, "dropped", type);
  await page.locator("#canvas").waitFor({ state: "visible" });
  const answer = await (await fetch(new URL("v1/detect?score=0.05", url), { method: "POST", body: bytes })).json();
  const score = Number(await page.locator("#score").inputValue());
  const expected = answer.detections.filter((d) => d.score >= score);
  assert(expected.length > 0, "the picture has nothing to find");
  assert.equal(await items(), expected.length);
  assert.equal(await page.locator("#list .name").first().textContent(), expected[0].label);
  const size = await page.locator("#canvas").evaluate((canvas) => [canvas.width, canvas.height]);
  assert.deepEqual(size, [answer.width, answer.height]);

  // The left edge of the best box has the colour of its class.
  const { classes } = await (await fetch(new URL("v1/model", url))).json();
  const color = classes.find((c) => c.id === expected[0].class_id).color;
  const [x1, y1, x2, y2] = expected[0].bbox;
  const pixels = await page.locator("#canvas").evaluate(
    (canvas, [x, y, height]) => [...canvas.getContext("2d").getImageData(x, y, 3, height).data],
    [Math.round(x1) - 1, Math.round(y1 + (y2 - y1) / 4), Math.max(1, Math.round((y2 - y1) / 2))],
  );
  const wanted = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const hit = pixels.some((_, i) => i % 4 === 0 && wanted.every((v, c) => Math.abs(pixels[i + c] - v) < 12));
  assert(hit, `no pixel of ${color} at the left of ${x1}, ${y1}, ${x2}, ${y2}`);
  await shoot("detections");

  await setScore(0.95);
  assert.equal(await items(), answer.detections.filter((d) => d.score >= 0.95).length);
  await setScore(0.05);
  assert.equal(await items(), answer.detections.length);

  // By keyboard alone: the list's entry is a button that is reached and pressed.
  await page.locator("#score").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#list button[aria-pressed=true]").count(), 1);
  await setScore(score);

  await page.emulateMedia({ colorScheme: "dark" });
  await shoot("dark");
  await page.setViewportSize({ width: 400, height: 900 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert(overflow <= 0, `the narrow page is ${overflow} pixels too wide`);
  await shoot("narrow");
  await page.setViewportSize({ width: 1100, height: 720 });
  await page.emulateMedia({ colorScheme: "light" });

  await page.locator("#file").setInputFiles({ name: "chosen", mimeType: type, buffer: bytes });
  await page.locator("#canvas").waitFor({ state: "visible" });
  await page.locator("#list li").first().waitFor();

  await drop(bytes.subarray(0, bytes.length >> 1), "broken", type);
  await page.locator("#error").waitFor({ state: "visible" });
  const message = await page.locator("#error").textContent();
  assert(/truncated|corrupt/.test(message) && message.includes("422"), message);
  assert.equal(await items(), 0);
  await shoot("error");

  await drop(bytes, "again", type);
  await page.locator("#error").waitFor({ state: "hidden" });
  await page.locator("#list li").first().waitFor();
  assert.deepEqual(complaints, []);
  console.log(`${expected.length} boxes on ${answer.width}x${answer.height}: all checks passed`);
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
