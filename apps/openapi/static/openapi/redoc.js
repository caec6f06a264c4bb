"use strict";

Redoc.init(
  "/openapi.json",
  // Fonts of the reader's own: none is fetched.
  { theme: { typography: { fontFamily: "system-ui, sans-serif", headings: { fontFamily: "system-ui, sans-serif" } } } },
  document.getElementById("redoc"),
);
