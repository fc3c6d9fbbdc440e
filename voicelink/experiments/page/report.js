"use strict";
// Tables: a click on a column's head sorts by it, a second one the other way.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const body = table.tBodies[0];
    const order = [...body.rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // what is missing stays last
      const [x, y] = [Number(a), Number(b)];
      const apart = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
      return rising ? apart : -apart;
    });
    body.append(...order);
  }));
}
// Players: one at a time, a line on the spectrogram shows where, a click on it goes there.
const sounds = [...document.querySelectorAll("audio")];
for (const sound of sounds) {
  const picture = sound.parentElement.querySelector(".picture");
  const line = picture.querySelector("i");
  const follow = () => {
    line.style.opacity = 1;
    line.style.left = `${100 * sound.currentTime / (sound.duration || 1)}%`;
    if (!sound.paused) requestAnimationFrame(follow);
  };
  sound.addEventListener("play", () => {
    for (const other of sounds) if (other !== sound) other.pause();
    follow();
  });
  sound.addEventListener("seeked", follow);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    sound.currentTime = (sound.duration || 0) * (event.clientX - box.left) / box.width;
    sound.play();
  });
}
