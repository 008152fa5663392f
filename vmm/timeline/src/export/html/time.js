"use strict";
// Times as people read them.

// A time in the unit and with the digits that suit a step.
function formatTime(ns, step) {
  if (step >= 1e7) return (ns / 1e9).toFixed(step >= 1e9 ? 0 : step >= 1e8 ? 1 : 2) + " s";
  if (step >= 1e3) return (ns / 1e6).toFixed(step >= 1e6 ? 0 : step >= 1e5 ? 1 : step >= 1e4 ? 2 : 3) + " ms";
  return (ns / 1e3).toFixed(step >= 100 ? 1 : step >= 10 ? 2 : 3) + " µs";
}

function formatSpan(ns) {
  if (ns >= 1e9) return (ns / 1e9).toFixed(3) + " s";
  if (ns >= 1e6) return (ns / 1e6).toFixed(3) + " ms";
  return (ns / 1e3).toFixed(3) + " µs";
}
