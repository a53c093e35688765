'use strict';
// The report's script: sorting, the slider over lattices, curves and the image browser.
// Numbers and words come from the JSON in #data, never from text that is put together as HTML.

const data = JSON.parse(document.getElementById('data').textContent);
const one = (q, e = document) => e.querySelector(q),
  all = (q, e = document) => [...e.querySelectorAll(q)];
const key = (cell) => {
  const held = cell.dataset.key;
  if (held === '') return NaN;
  return isNaN(held) ? held : +held;
};
const write = (e, text) =>
  e.replaceChildren(
    ...text.split(/(A_[^\s,()]+)/).map((o) => {
      if (!o.startsWith('A_')) return o;
      const span = document.createElement('span'),
        sub = document.createElement('sub');
      sub.textContent = o.slice(2);
      span.append('A', sub);
      return span;
    }),
  );
const compare = (a, b) =>
  typeof a === 'number' && typeof b === 'number'
    ? isNaN(a) - isNaN(b) || a - b || 0
    : String(a).localeCompare(String(b), 'en', { numeric: true });
// Tables: a click on a heading sorts by it.
for (const table of all('table.sortable')) {
  const heads = all('thead th', table),
    body = table.tBodies[0];
  heads.forEach((th, k) =>
    one('button', th).addEventListener('click', () => {
      const up = th.getAttribute('aria-sort') !== 'ascending';
      heads.forEach((o) => o.setAttribute('aria-sort', 'none'));
      th.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      body.append(
        ...[...body.rows].sort((a, b) => (up ? 1 : -1) * compare(key(a.cells[k]), key(b.cells[k]))),
      );
    }),
  );
}

// The slider over the lattices; the barcode and the RRC table follow it.
const slider = one('#t'),
  shapes = all('.lattice'),
  barcode = one('#barcode');
function showStep(k) {
  const step = data.steps[k];
  shapes.forEach((o, i) => o.classList.toggle('now', i === k));
  one('#t-says').textContent =
    step.where +
    ', ' +
    step.number +
    (step.count === 1 ? ' concept' : ' concepts') +
    (step.chain ? ', a chain' : ', not a chain');
  slider.setAttribute('aria-valuetext', step.where);
  barcode.style.setProperty('--t', (100 * step.t) / barcode.dataset.top + '%');
  all('.life[data-low]', barcode).forEach((o) =>
    o.classList.toggle('alive', +o.dataset.low < step.t && step.t <= +o.dataset.high),
  );
  one('#framed').textContent = step.t;
  all('#table-rrc td').forEach((o) => o.classList.toggle('served', +o.dataset.key >= step.t));
  describe(null);
}
function describe(concept) {
  for (const dd of all('#concept dd'))
    write(dd, concept ? concept[dd.dataset.of] : dd.dataset.of === 'extent' ? 'point at a node' : '–');
}
slider.addEventListener('input', () => showStep(+slider.value));
all('.track', barcode).forEach((track) =>
  track.addEventListener('click', (e) => {
    const box = track.getBoundingClientRect(),
      t = ((e.clientX - box.left) / box.width) * barcode.dataset.top;
    slider.value = data.steps.findIndex((o) => o.to === null || t <= o.to);
    showStep(+slider.value);
  }),
);

// Nodes of a diagram: which are above, and what the concept says.
function above(svg, start) {
  const lines = all('polyline', svg),
    up = new Set([start]);
  for (let size = 0; size !== up.size;) {
    size = up.size;
    lines.forEach((o) => up.has(o.dataset.from) && up.add(o.dataset.to));
  }
  lines.forEach((o) => o.classList.toggle('up', up.has(o.dataset.from)));
  all('.node', svg).forEach((o) => o.classList.toggle('on', o.dataset.node === start));
}
for (const node of all('.node')) {
  const step = data.steps[node.closest('.lattice').dataset.step];
  const show = () => {
    describe(step.concepts[node.dataset.node]);
    above(node.ownerSVGElement, node.dataset.node);
  };
  for (const event of ['pointerenter', 'focus', 'click']) node.addEventListener(event, show);
}
one('#lattices').style.setProperty(
  '--tallest',
  Math.min(620, 110 + 1.25 * Math.max(0, ...all('.hasse').map((o) => +o.getAttribute('height')))) + 'px',
);
showStep(+slider.value);

// Curves, drawn by plotly in the page's own colours.
const charts = all('.plot');
function colours() {
  const ink = getComputedStyle(document.body).color,
    soft = getComputedStyle(one('figcaption')).color,
    rule = getComputedStyle(one('h2')).borderBottomColor;
  const axis = { color: ink, gridcolor: rule, linecolor: rule, zerolinecolor: rule };
  return { ink, axis };
}
function draw() {
  const { ink, axis } = colours();
  charts.forEach((div, k) => {
    const { data: curves, layout } = data.plots[k],
      own = k === 0;
    Plotly.react(
      div,
      curves,
      {
        paper_bgcolor: 'rgba(0,0,0,0)',
        plot_bgcolor: 'rgba(0,0,0,0)',
        font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 12 },
        margin: { l: 52, r: 8, t: 8, b: 44 },
        hovermode: 'x unified',
        legend: { orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0 },
        hoverlabel: { bgcolor: getComputedStyle(document.body).backgroundColor, font: { color: ink } },
        xaxis: { ...layout.xaxis, ...axis },
        yaxis: { ...layout.yaxis, ...axis },
      },
      { responsive: true, displayModeBar: false },
    );
  });
}
draw();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
const folded = all('details');
addEventListener('beforeprint', () => {
  folded.forEach((o) => {
    o.dataset.open = o.open;
    o.open = true;
  });
  document.documentElement.style.colorScheme = 'light';
  draw();
});
addEventListener('afterprint', () => {
  folded.forEach((o) => {
    o.open = o.dataset.open === 'true';
  });
  document.documentElement.style.colorScheme = '';
  draw();
});

// The image browser: cells are cut out of the sheets.
if (data.images) {
  const { width, height, columns, shots, names } = data.images,
    sheets = all('.sheet'),
    called = (c) => (c === 'original' ? c : 'A_' + c);
  const cut = (canvas, k, column, row) => {
    canvas.width = width;
    canvas.height = height;
    canvas
      .getContext('2d')
      .drawImage(sheets[k], column * width, row * height, width, height, 0, 0, width, height);
  };
  const chosen = (name) => +one(`input[name=${name}]:checked`).value;
  const paint = (id, k, column, row, label) => {
    const canvas = one('#' + id);
    cut(canvas, k, column, row);
    canvas.setAttribute('aria-label', label);
  };
  const said = ([text, right]) => {
    const td = document.createElement('td');
    td.textContent = text;
    td.className = right ? 'right' : 'wrong';
    return td;
  };
  const show = () => {
    const k = chosen('image'),
      c = chosen('auto'),
      name = called(columns[c]),
      shot = shots[k];
    write(one('#shown'), `Image ${k + 1}: ${shot.truth}, as ${name} paints it.`);
    paint('view-original', k, 0, 0, 'original');
    paint('view-made', k, c, 0, name);
    paint('swipe-original', k, 0, 0, 'original');
    paint('swipe-made', k, c, 0, name);
    for (const row of [1, 2, 3]) paint('view-' + row, k, c, row, 'difference ' + row + ' of ' + name);
    for (const id of ['#made-name', '#swipe-name']) write(one(id), name);
    one('#says tbody').replaceChildren(
      ...names.map((n, j) => {
        const tr = document.createElement('tr'),
          th = document.createElement('th');
        th.scope = 'row';
        th.textContent = n;
        tr.append(th, said(shot.says[0][j]), said(shot.says[c][j]));
        return tr;
      }),
    );
  };
  const swipe = one('#swipe'),
    stage = one('.stage'),
    move = (v) => {
      stage.style.setProperty('--cut', v + '%');
    };
  swipe.addEventListener('input', () => move(swipe.value));
  for (const event of ['pointerdown', 'pointermove'])
    stage.addEventListener(event, (e) => {
      if (event === 'pointerdown' || e.buttons) {
        const box = stage.getBoundingClientRect();
        swipe.value = (100 * (e.clientX - box.left)) / box.width;
        move(swipe.value);
      }
    });
  all('#browser fieldset').forEach((o) => o.addEventListener('change', show));
  Promise.all(sheets.map((o) => o.decode())).then(() => {
    all('#pick-image canvas').forEach((canvas, k) => cut(canvas, k, 0, 0));
    show();
  });
}
