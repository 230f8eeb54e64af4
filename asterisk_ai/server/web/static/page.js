"use strict";

// A call's recording, with its picture and its transcript in step.
const LEFT = 70, RIGHT = 30; // of the picture's time axis, in its own pixels; see session/picture.py

function player() {
  const sound = document.getElementById("player"), picture = document.querySelector(".picture");
  if (!sound || !picture) return;
  const image = picture.querySelector("img"), head = picture.querySelector(".playhead");
  const turns = [...document.querySelectorAll(".turn")];
  // The picture is as long as the call or its recording, whichever is longer, and a second at least.
  const seconds = () => Math.max(1, Number(picture.dataset.seconds), sound.duration || 0);
  const scale = () => (image.clientWidth - LEFT - RIGHT) / seconds();

  function follow() {
    const x = LEFT + sound.currentTime * scale();
    head.hidden = false;
    head.style.left = `${x}px`;
    if (!sound.paused && (x < picture.scrollLeft || x > picture.scrollLeft + picture.clientWidth - 60)) {
      picture.scrollLeft = x - 80;
    }
    const past = turns.filter((turn) => Number(turn.dataset.at) <= sound.currentTime + 0.05);
    for (const turn of turns) turn.classList.toggle("now", turn === past[past.length - 1]);
  }
  function frame() {
    follow();
    if (!sound.paused) requestAnimationFrame(frame);
  }
  sound.addEventListener("play", frame);
  sound.addEventListener("timeupdate", follow);
  sound.addEventListener("seeked", follow);
  image.addEventListener("click", (event) => {
    sound.currentTime = Math.max(0, (event.offsetX - LEFT) / scale());
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-seek]");
    if (!button) return;
    sound.currentTime = Number(button.dataset.seek);
    sound.play();
  });
}

function copying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy);
    getSelection().selectAllChildren(text);
    if (navigator.clipboard) await navigator.clipboard.writeText(text.textContent); // only over HTTPS and on loopback
    button.textContent = navigator.clipboard ? "Copied" : "Selected: copy it";
  });
}

player();
copying();
