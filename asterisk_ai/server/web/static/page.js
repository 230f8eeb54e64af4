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
    head.hidden = !(image.clientWidth > LEFT + RIGHT);
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
  image.addEventListener("load", follow);
  image.addEventListener("click", (event) => {
    sound.currentTime = Math.max(0, (event.offsetX - LEFT) / scale());
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-seek]");
    if (!button) return;
    sound.currentTime = Number(button.dataset.seek);
    sound.play().catch(() => {}); // stopped before it began
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

// Live calls: the server renders each call's card, and its changing part again whenever it has changed.
function watching() {
  const list = document.getElementById("live");
  if (!list) return;
  const state = document.getElementById("live-state");
  const empty = document.getElementById("live-empty"), lost = document.getElementById("live-lost");
  const source = new EventSource(list.dataset.events);
  const find = (id) => list.querySelector(`[data-call="${CSS.escape(id)}"]`);

  function tick(part) {
    for (const one of part.querySelectorAll("[data-lasted]")) {
      if (!one.dataset.since) one.dataset.since = performance.now() - 1000 * Number(one.dataset.lasted);
      const seconds = Math.floor((performance.now() - Number(one.dataset.since)) / 1000);
      one.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    }
  }
  source.addEventListener("call", (event) => {
    const told = JSON.parse(event.data);
    let card = find(told.id);
    if (told.gone) {
      if (card) card.remove();
      return;
    }
    if (!card) {
      if (!told.card) return;
      list.insertAdjacentHTML("afterbegin", told.card);
      card = find(told.id);
    } else {
      card.querySelector(".live-now").innerHTML = told.now; // not the rest: somebody may be typing there
    }
    card.classList.toggle("ended", told.ended);
    const acts = card.querySelector(".acts");
    if (told.ended && acts) acts.remove();
    tick(card);
  });
  source.addEventListener("state", (event) => {
    const told = JSON.parse(event.data);
    const some = told.reached < told.places ? ` · ${told.reached} of ${told.places} processes reached` : "";
    const text = `${told.calls} ${told.calls === 1 ? "call" : "calls"} now${some}`;
    if (state.textContent !== text) state.textContent = text;
    lost.hidden = told.reached > 0;
    empty.hidden = told.reached === 0 || told.calls > 0 || list.children.length > 0;
  });
  source.addEventListener("error", () => {
    state.textContent = "The connection to this page's server is lost; trying again …";
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000); // logged out
  });
  setInterval(() => tick(list), 1000);

  list.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target, result = form.closest(".acts").querySelector(".result");
    result.textContent = "…";
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/plain" } });
      result.textContent = await answer.text();
    } catch {
      result.textContent = "This page's server did not answer.";
    }
  });
}

player();
copying();
watching();
