"use strict";
// The stage: two codecs' pictures of one frame, or films of both in step, with a border between them to drag.

const LARGEST_ZOOM = 3;
const [WIDEST, HIGHEST] = [1080, 640]; // pixels
const FILM_FPS = 30; // where the browser does not tell of each frame

// What the stage shows: { left, right, film, width } where left and right are { label, picture, row }.
let staged = null;
let filming = false;
const film = Object.assign(document.createElement("video"), { muted: true, loop: true, playsInline: true });

function splitNow() {
  return Number(byId("divider").getAttribute("aria-valuenow"));
}

function setSplit(percent) {
  const split = Math.max(0, Math.min(100, percent));
  byId("compare").style.setProperty("--split", `${split}%`);
  byId("divider").setAttribute("aria-valuenow", Math.round(split));
  drawFilm();
}

function followDivider() {
  const frame = byId("compare");
  const divider = byId("divider");
  const follow = (event) => {
    const box = frame.getBoundingClientRect();
    setSplit(((event.clientX - box.left) / box.width) * 100);
  };
  frame.addEventListener("pointerdown", (event) => { frame.setPointerCapture(event.pointerId); follow(event); });
  frame.addEventListener("pointermove", (event) => { if (frame.hasPointerCapture(event.pointerId)) follow(event); });
  divider.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 }[event.key];
    if (!step) return;
    event.preventDefault();
    setSplit(splitNow() + step);
  });
  setSplit(50);
}

// The film's pictures stand one above the other in each frame of the video: the source's first, then the codecs'.
function drawFilm() {
  if (!filming || film.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
  const canvas = byId("compare-film");
  const width = film.videoWidth;
  const height = film.videoHeight / (staged.film.tracks.length + 1);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const border = Math.round((width * splitNow()) / 100);
  const put = (side, from, to) => {
    if (to > from) {
      canvas.getContext("2d").drawImage(film, from, side.row * height, to - from, height, from, 0, to - from, height);
    }
  };
  put(staged.left, 0, border);
  put(staged.right, border, width);
}

function followFilm() {
  const again = () => { drawFilm(); next(); };
  const next = film.requestVideoFrameCallback ? () => film.requestVideoFrameCallback(again)
    : () => setTimeout(again, 1000 / FILM_FPS);
  next();
  film.addEventListener("loadeddata", drawFilm);
  film.addEventListener("seeked", drawFilm);
  for (const event of ["play", "pause"]) film.addEventListener(event, showButtons);
  new IntersectionObserver(([entry]) => {
    entry.isIntersecting && filming && !film.dataset.stopped ? film.play().catch(() => {}) : film.pause();
  }).observe(byId("compare"));
}

function loadFilm(wanted) {
  const key = wanted ? String(wanted.point) : "";
  if (film.dataset.key === key) return;
  film.dataset.key = key;
  if (film.src) URL.revokeObjectURL(film.src);
  if (!wanted) return;
  const bytes = Uint8Array.from(atob(wanted.video), (character) => character.charCodeAt(0));
  film.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
}

function playFilm(play) {
  film.dataset.stopped = play ? "" : "yes";
  if (play) film.play().catch(() => {});
  else film.pause();
}

function showButtons() {
  byId("compare-film-on").setAttribute("aria-pressed", filming);
  byId("compare-still-on").setAttribute("aria-pressed", !filming);
  byId("compare-play").hidden = !filming;
  byId("compare-play").textContent = film.paused ? "\u25b6 play" : "\u275a\u275a pause";
  byId("compare-modes").hidden = !staged.film;
}

// Show the film, where there is one, or the still picture.
function setFilming(on) {
  filming = Boolean(on && staged.film);
  byId("compare-film").hidden = !filming;
  loadFilm(filming ? staged.film : null);
  if (filming && !film.dataset.stopped) playFilm(true);
  if (!filming) film.pause();
  drawFilm();
  showButtons();
}

function stage(wanted) {
  staged = wanted;
  const right = byId("compare-recon");
  right.onload = () => {
    const { naturalWidth: width, naturalHeight: height } = right;
    byId("compare").style.maxWidth = `${Math.min(WIDEST, LARGEST_ZOOM * width, (HIGHEST * width) / height)}px`;
  };
  byId("compare-source").src = wanted.left.picture;
  right.src = wanted.right.picture;
  byId("compare-left").textContent = wanted.left.label;
  byId("compare-right").textContent = wanted.right.label;
  setFilming(filming);
}

function showStage() {
  followDivider();
  followFilm();
  byId("compare-film-on").addEventListener("click", () => setFilming(true));
  byId("compare-still-on").addEventListener("click", () => setFilming(false));
  byId("compare-play").addEventListener("click", () => playFilm(film.paused));
  film.dataset.stopped = matchMedia("(prefers-reduced-motion: reduce)").matches ? "yes" : "";
}
