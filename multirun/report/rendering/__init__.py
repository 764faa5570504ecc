"""How sections become a page, Markdown or lines on a terminal; charts and pictures."""
