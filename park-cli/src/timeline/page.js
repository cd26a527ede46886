// Whatever has a title is told in the field below the picture: on hovering, on a tap, and by arrow keys.
for (const section of document.querySelectorAll('section')) {
  const details = section.querySelector('.details');
  const plot = section.querySelector('.plot');
  const things = [...section.querySelectorAll('.figure g')].filter(g => g.firstElementChild?.tagName === 'title');
  const texts = new Map(things.map(g => [g, g.firstElementChild.textContent]));
  // The field takes the place of the browser's own tooltips.
  for (const g of things) { g.firstElementChild.remove(); g.setAttribute('aria-label', texts.get(g)); g.setAttribute('role', 'img'); }
  let chosen = null;
  const choose = g => {
    if (!g || g === chosen) return;
    chosen?.classList.remove('chosen');
    chosen = g;
    g.classList.add('chosen');
    details.textContent = texts.get(g);
  };
  const thingAt = event => {
    for (let g = event.target.closest('g'); g; g = g.parentElement?.closest('g')) if (texts.has(g)) return g;
    return null;
  };
  section.querySelector('.figure').addEventListener('pointerover', event => choose(thingAt(event)));
  section.querySelector('.figure').addEventListener('click', event => choose(thingAt(event)));
  const lanes = [...plot.querySelectorAll('.lane')].map(lane => things.filter(g => lane.contains(g)));
  plot.addEventListener('keydown', event => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const move = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined && move === undefined) return;
    event.preventDefault();
    const place = g => g.getBBox().x;
    let row = Math.max(0, lanes.findIndex(lane => lane.includes(chosen)));
    if (move) row = Math.min(lanes.length - 1, Math.max(0, row + move));
    const lane = [...lanes[row]].sort((a, b) => place(a) - place(b));
    let at = lane.indexOf(chosen);
    if (move && chosen) at = lane.findLastIndex(g => place(g) <= place(chosen));
    else if (step) at = at + step;
    choose(lane[Math.min(lane.length - 1, Math.max(0, at))]);
    const box = chosen.getBBox();
    if (box.x < plot.scrollLeft || box.x > plot.scrollLeft + plot.clientWidth - 40) plot.scrollLeft = box.x - plot.clientWidth / 3;
  });
}
