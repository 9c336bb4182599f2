import { greet } from "./greet.js";
import "./style.css";

// VERSION is put in by the build, API by the page.
document.title = greet(VERSION);
const answer = await fetch("/api/version");
document.body.dataset.active = (await answer.json()).version;
document.body.dataset.built = VERSION;
