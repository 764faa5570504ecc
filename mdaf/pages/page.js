// Copies a line; draws charts anew where their width changes: in a part that was opened, and on paper.
(() => {
  const paper = 660; // pixels of a printed page's width
  const tall = 370; // pixels of a chart's height, so that a printed page holds two
  const heighten = (chart, height) => { // plotly gives a box around each chart a height too
    for (const box of [chart, chart.parentElement]) box.style.height = `${height}px`;
  };
  const charts = (within) => [...within.querySelectorAll(".js-plotly-plot")];
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const line = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(line.textContent.trim());
      } catch {
        getSelection().selectAllChildren(line);
        return;
      }
      const before = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = before; }, 1500);
    });
  }
  for (const part of document.querySelectorAll("details")) {
    part.addEventListener("toggle", () => {
      if (part.open) charts(part).forEach((chart) => Plotly.Plots.resize(chart));
    });
  }
  const shown = () => {
    const part = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (part && part.tagName === "DETAILS") part.open = true;
  };
  addEventListener("hashchange", shown);
  shown();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((part) => { part.open = true; });
    charts(document).forEach((chart) => {
      const height = chart.layout.height;
      const printed = height < 500 ? Math.min(height, tall) : height;
      chart.dataset.height = height;
      heighten(chart, printed);
      Plotly.relayout(chart, { width: paper, height: printed });
    });
  });
  addEventListener("afterprint", () => {
    opened.forEach((part) => { part.open = false; });
    charts(document).forEach((chart) => {
      heighten(chart, chart.dataset.height);
      Plotly.relayout(chart, { width: null, height: Number(chart.dataset.height), autosize: true });
    });
  });
})();
