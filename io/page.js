'use strict';
// The page's data: facts about all heads in #data, and for each head what it has of these, in base64
// in elements of their own, which are decoded when they are first looked at:
//   weights   float32, [queries][keys]
//   blocks    a coarse matrix, [rows][columns], packed in bytes
//   top_keys, top_weights   the strongest keys of each query, [queries][top]
//   bars0, bars1, ...   numbers per key or query, packed
//   path      first and last key of each query
const find = id => document.getElementById(id);
const data = JSON.parse(find('data').textContent);
const rows = data.queries, columns = data.keys, none = 2 ** (8 * data.key_bytes) - 1;
const state = { view: data.kind, layer: 0, head: 0, query: 0, key: 0, only: 'all', held: false,
  bars: 0, statistic: 0, theme: 'auto', dark: false };
const BUNDLES = 72; // places of a column where lines of a long text begin and end
const HAZE = 5; // lines of a query that are shown where all queries have theirs: more are a haze
const FEW = 400; // tokens that are shown one by one; of more, those around the chosen one
const SMALL = 64; // cells of a thumbnail, a side

// ------------------------------------------------------------------------------------- Reading

function bytesOf(name, layer, head) {
  const element = find([name, layer, head].join('.'));
  if (!element) return null;
  const text = atob(element.textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
// Keeps the latest answers, so that going to and fro between heads is quick and memory is bounded.
function remembered(compute) {
  const known = new Map(), most = Math.max(64, 2 * data.heads.length);
  return (layer, head) => {
    const name = layer + '.' + head;
    const value = known.has(name) ? known.get(name) : compute(layer, head);
    known.delete(name);
    known.set(name, value);
    if (known.size > most) known.delete(known.keys().next().value);
    return value;
  };
}
// Packed: lowest and highest as float32, then each number as a share of the way between them.
function unpack(bytes, size) {
  if (!bytes) return null;
  const [low, high] = new Float32Array(bytes.buffer, 0, 2);
  const shares = size === 1 ? bytes.subarray(8) : new Uint16Array(bytes.buffer, 8);
  const step = (high - low) / (size === 1 ? 254 : 65534), gap = size === 1 ? 255 : 65535;
  return Float32Array.from(shares, share => share === gap ? NaN : low + share * step);
}
function matrix(of, height, width, perRow, perColumn) {
  let low = 0, high = 0;
  for (const w of of) if (Number.isFinite(w)) low = w < low ? w : low, high = w > high ? w : high;
  return { cells: of, rows: height, columns: width, perRow, perColumn, low, high };
}
// The largest of each block of cells, at most `most` blocks a side.
function reduced(m, most) {
  const down = Math.ceil(m.rows / most), across = Math.ceil(m.columns / most);
  if (down * across === 1) return m;
  const height = Math.ceil(m.rows / down), width = Math.ceil(m.columns / across);
  const cells = new Float32Array(height * width).fill(-Infinity);
  for (let i = 0; i < m.rows; i++) {
    const row = Math.floor(i / down) * width;
    for (let j = 0; j < m.columns; j++) {
      const at = row + Math.floor(j / across), w = m.cells[i * m.columns + j];
      if (!(w <= cells[at])) cells[at] = w;
    }
  }
  return matrix(cells, height, width, m.perRow * down, m.perColumn * across);
}
const weightsOf = remembered((layer, head) => {
  const bytes = bytesOf('weights', layer, head);
  return bytes && new Float32Array(bytes.buffer);
});
const topOf = remembered((layer, head) => {
  const bytes = bytesOf('top_keys', layer, head);
  if (!bytes) return null;
  const keys = data.key_bytes === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
  const weights = unpack(bytesOf('top_weights', layer, head), 2)
    || new Float32Array(keys.length).fill(1);
  return { keys, weights };
});
// The strongest weights as a matrix: as much of it as can be drawn.
function sparseMatrix(top) {
  const down = Math.ceil(rows / 256), across = Math.ceil(columns / 256);
  const height = Math.ceil(rows / down), width = Math.ceil(columns / across);
  const cells = new Float32Array(height * width);
  top.keys.forEach((key, n) => {
    if (key === none) return;
    const at = Math.floor(Math.floor(n / data.top) / down) * width + Math.floor(key / across);
    if (top.weights[n] > cells[at]) cells[at] = top.weights[n];
  });
  return matrix(cells, height, width, down, across);
}
const matrixOf = remembered((layer, head) => {
  const weights = weightsOf(layer, head);
  if (weights) return reduced(matrix(weights, rows, columns, 1, 1), 640);
  const blocks = unpack(bytesOf('blocks', layer, head), 1), b = data.blocks;
  if (blocks) return matrix(blocks, b.rows, b.columns, b.queries, b.keys);
  return sparseMatrix(topOf(layer, head) || { keys: [], weights: [] }); // empty, below a path alone
});
const pathOf = remembered((layer, head) => {
  const bytes = bytesOf('path', layer, head);
  return bytes && (data.key_bytes === 2 ? new Uint16Array(bytes.buffer)
    : new Uint32Array(bytes.buffer));
});
const barsOf = remembered((layer, head) =>
  data.bars.map((_, i) => unpack(bytesOf('bars' + i, layer, head), 2)));

// What a query gives to its strongest keys, strongest first.
function strongestOf(layer, head, query, count) {
  const weights = weightsOf(layer, head), top = weights ? null : topOf(layer, head);
  const found = [];
  const offer = (key, weight) => {
    if (!(weight > 0) || found.length === count && weight <= found[count - 1].weight) return;
    let at = found.length;
    while (at > 0 && weight > found[at - 1].weight) at--;
    found.splice(at, 0, { key, weight });
    if (found.length > count) found.pop();
  };
  if (weights) for (let j = 0; j < columns; j++) offer(j, weights[query * columns + j]);
  if (top) {
    for (let n = query * data.top; n < (query + 1) * data.top; n++) {
      if (top.keys[n] !== none) offer(top.keys[n], top.weights[n]);
    }
  }
  return found;
}

// Visits the `count` strongest pairs of each query, but for those too weak to be seen beside the head's
// strongest: visit(query, key, weight, its share of that).
function eachLine(layer, head, count, visit) {
  const top = weightsOf(layer, head) ? null : topOf(layer, head);
  const all = weightsOf(layer, head) || (top ? top.weights : []);
  let most = 0;
  for (const w of all) if (w > most) most = w;
  for (let n = 0; top && n < all.length; n++) {
    if (n % data.top >= count || !(all[n] > most / 50) || top.keys[n] === none) continue;
    visit(Math.floor(n / data.top), top.keys[n], all[n], all[n] / most);
  }
  for (let query = 0; !top && query < rows && all.length > 0; query++) {
    for (const { key, weight } of strongestOf(layer, head, query, count)) {
      if (weight > most / 50) visit(query, key, weight, weight / most);
    }
  }
}
// The lines of a head by their query and by their key.
const linesOf = remembered((layer, head) => {
  const lines = { query: new Map(), key: new Map() };
  const add = (side, line) => {
    if (!lines[side].has(line[side])) lines[side].set(line[side], []);
    lines[side].get(line[side]).push(line);
  };
  eachLine(layer, head, columns <= 128 ? columns : 8, (query, key, weight, share) => {
    const line = { query, key, weight, share };
    add('query', line), add('key', line);
  });
  return lines;
});
const strongestFirst = lines => Array.from(lines || []).sort((a, b) => b.weight - a.weight);

// ------------------------------------------------------------------------------- Words, colours

const label = (list, i) => list.length ? list[i] : String(i);
const queryLabel = i => label(data.query_tokens, i), keyLabel = j => label(data.key_tokens, j);
// With its place, where there are words and more of them than can be told apart.
const queryName = i => queryLabel(i) + (data.query_tokens.length ? ' (' + i + ')' : '');
const keyName = j => keyLabel(j) + (data.key_tokens.length ? ' (' + j + ')' : '');
const written = w => Number.isNaN(w) ? 'NaN' : w === -Infinity ? '\u2212\u221e'
  : Math.abs(w) >= 1000 ? w.toPrecision(4) : w === 0 || Math.abs(w) >= 0.0005 ? w.toFixed(3)
    : w.toExponential(0);
// The same, where weights of lines may not be known.
const weighed = w => data.matrix === 'weights' || data.weighed ? ' ' + written(w) : '';
const layerName = () => data.layers[state.layer];
const headName = () => (data.layers.length > 1 ? layerName() + ', ' : '') + 'head '
  + data.heads[state.head];

const prefersDark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => state.dark;
const parts = text => [0, 2, 4].map(i => parseInt(text.substr(i, 2), 16));
const palettes = [data.light, data.dark].map(text => Array.from({ length: 256 },
  (_, i) => parts(text.substr(6 * i, 6))));
const pixels = palettes.map(list => Uint32Array.from(list,
  ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0));
const notANumber = [200, 60, 160];
const step = share => Math.round(255 * Math.min(Math.max(share, 0), 1));
const color = share => Number.isNaN(share) ? notANumber : palettes[Number(isDark())][step(share)];
const css = rgb => 'rgb(' + rgb.join(',') + ')';
const textOn = rgb => 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 115 ? '#111' : '#fff';
const hue = i => (isDark() ? data.dark_hues : data.light_hues)[i % data.light_hues.length];
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name);

// ------------------------------------------------------------------------------------- Drawing

const font = (size, bold) => (bold ? 'bold ' : '') + size + 'px system-ui, sans-serif';

function sized(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio), canvas.height = Math.round(height * ratio);
  canvas.style.width = width + 'px', canvas.style.height = height + 'px';
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  return context;
}
// One pixel a cell.
function paint(canvas, m) {
  canvas.width = m.columns, canvas.height = m.rows;
  const context = canvas.getContext('2d'), image = context.createImageData(m.columns, m.rows);
  const out = new Uint32Array(image.data.buffer), palette = pixels[Number(isDark())];
  const factor = m.high > m.low ? 1 / (m.high - m.low) : 1, odd = 0xffa03cc8;
  for (let i = 0; i < out.length; i++) {
    const share = (m.cells[i] - m.low) * factor;
    out[i] = Number.isNaN(share) ? odd : palette[step(share)];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
function fitted(context, text, most) {
  if (context.measureText(text).width <= most) return text;
  const letters = Array.from(text);
  const cut = () => letters.join('') + '\u2026';
  while (letters.length > 0 && context.measureText(cut()).width > most) letters.pop();
  return cut();
}
function widest(context, count, name, every) {
  let most = 0;
  for (let i = 0; i < count; i += every) {
    most = Math.max(most, context.measureText(name(i)).width);
  }
  return Math.min(150, Math.ceil(most)) + 8;
}
// Labels that are every few tokens apart say more as numbers than as words.
const rowLabel = (i, every) => every === 1 ? queryLabel(i) : String(i);
const columnLabel = (j, every) => every === 1 ? keyLabel(j) : String(j);
// All labels where they have room; else some, at round steps.
function labelStep(count, size) {
  let every = 1;
  for (let i = 0; size < 10 && count / every > 14; i++) {
    every = [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3);
  }
  return every;
}

// What lies under the marks of the chosen token: drawn anew only when `name` changes.
const base = { canvas: document.createElement('canvas'), name: '' };
function onBase(name, width, height, draw) {
  const whole = [name, width, height, isDark(), devicePixelRatio].join();
  if (base.name !== whole) {
    base.name = whole;
    draw(sized(base.canvas, width, height));
  }
  const canvas = find('picture'), context = sized(canvas, width, height);
  context.drawImage(base.canvas, 0, 0, width, height);
  return context;
}

// -------------------------------------------------------------------------------------- Matrix

const plan = {};
const small = document.createElement('canvas');
function planMatrix(m) {
  const context = find('picture').getContext('2d');
  const most = Math.max(m.rows, m.columns);
  plan.cell = Math.min(most > 12 ? 28 : 56, Math.floor(620 / most)) || 620 / most;
  plan.font = plan.cell >= 10 ? Math.min(13, Math.max(9, plan.cell * 0.72)) : 11;
  plan.down = labelStep(m.rows, plan.cell), plan.across = labelStep(m.columns, plan.cell);
  context.font = font(plan.font);
  plan.left = widest(context, m.rows, i => rowLabel(i * m.perRow, plan.down * m.perRow), plan.down);
  plan.top = widest(context, m.columns, j => columnLabel(j * m.perColumn, plan.across * m.perColumn),
    plan.across);
  plan.width = plan.cell * m.columns, plan.height = plan.cell * m.rows;
}
function drawMatrixLabels(context, m) {
  context.fillStyle = style('--ink');
  context.font = font(plan.font);
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (let i = 0; i < m.rows; i += plan.down) {
    const text = rowLabel(i * m.perRow, plan.down * m.perRow);
    context.fillText(fitted(context, text, plan.left - 8), plan.left - 5,
      plan.top + plan.cell * (i + .5));
  }
  context.textAlign = 'left';
  for (let j = 0; j < m.columns; j += plan.across) {
    context.save();
    context.translate(plan.left + plan.cell * (j + .5), plan.top - 5);
    context.rotate(-Math.PI / 2);
    const text = columnLabel(j * m.perColumn, plan.across * m.perColumn);
    context.fillText(fitted(context, text, plan.top - 8), 0, 0);
    context.restore();
  }
}
function drawPath(context) {
  const path = pathOf(state.layer, state.head);
  if (!path) return;
  const m = matrixOf(state.layer, state.head), x = j => plan.left + plan.cell * (j + .5) / m.perColumn;
  context.strokeStyle = hue(1);
  context.lineWidth = 2;
  context.lineJoin = 'round';
  context.beginPath();
  for (let i = 0; i < rows; i++) {
    if (path[2 * i] === none) continue;
    const y = plan.top + plan.cell * (i + .5) / m.perRow;
    context.lineTo(x(path[2 * i]), y), context.lineTo(x(path[2 * i + 1]), y);
  }
  context.stroke();
}
function drawMatrix() {
  const m = matrixOf(state.layer, state.head);
  planMatrix(m);
  const context = onBase(['matrix', state.layer, state.head], plan.left + plan.width + 2,
    plan.top + plan.height + 2, under => {
      under.imageSmoothingEnabled = false;
      under.drawImage(paint(small, m), plan.left, plan.top, plan.width, plan.height);
      under.strokeStyle = style('--line');
      under.strokeRect(plan.left - .5, plan.top - .5, plan.width + 1, plan.height + 1);
      drawMatrixLabels(under, m);
      drawPath(under);
    });
  context.strokeStyle = style('--ink');
  context.lineWidth = 1.5;
  const row = Math.floor(state.query / m.perRow), column = Math.floor(state.key / m.perColumn);
  context.strokeRect(plan.left - .5, plan.top + plan.cell * row - .5, plan.width + 1, plan.cell + 1);
  context.strokeRect(plan.left + plan.cell * column - .5, plan.top + plan.cell * row - .5,
    plan.cell + 1, plan.cell + 1);
  const each = m.perRow * m.perColumn > 1
    ? '; each cell: ' + m.perRow + ' \u00d7 ' + m.perColumn + ' pairs' : '';
  find('drawing-name').textContent = headName() + ': ' + written(m.low) + ' to ' + written(m.high)
    + each;
}
function pointMatrix(x, y) {
  const m = matrixOf(state.layer, state.head);
  const i = Math.floor((y - plan.top) / plan.cell), j = Math.floor((x - plan.left) / plan.cell);
  if (i < 0 || j < 0 || i >= m.rows || j >= m.columns) return;
  state.key = Math.min(columns - 1, j * m.perColumn);
  chooseQuery(Math.min(rows - 1, i * m.perRow));
}
// The weight of the chosen pair, or of the cell that it is in.
function sayPair() {
  const m = matrixOf(state.layer, state.head);
  const row = Math.floor(state.query / m.perRow), column = Math.floor(state.key / m.perColumn);
  const whole = m.perRow * m.perColumn > 1;
  say(queryName(state.query) + (whole ? '\u2026' : '') + ' \u2192 ' + keyName(state.key)
    + (whole ? '\u2026' : '') + ': ' + written(m.cells[row * m.columns + column]));
}

// --------------------------------------------------------------------------------------- Lines

function planLines() {
  const most = Math.max(rows, columns), context = find('picture').getContext('2d');
  const wide = Math.max(find('panel').clientWidth, 340);
  plan.height = Math.min(22 * most, most > 70 ? 860 : 1600);
  plan.top = 8;
  plan.row = plan.height / rows, plan.column = plan.height / columns;
  plan.down = labelStep(rows, plan.row), plan.across = labelStep(columns, plan.column);
  plan.font = Math.max(9, Math.min(13, (plan.down * plan.across > 1 ? 16 : plan.row) * 0.72));
  context.font = font(plan.font, true);
  const named = most > 70 ? 150 : 0; // room for the words of the chosen token
  plan.left = Math.max(named, widest(context, rows, queryLabel, plan.down)) + 4;
  plan.right = Math.max(named, widest(context, columns, keyLabel, plan.across)) + 4;
  plan.between = Math.max(120, Math.min(330, wide - plan.left - plan.right));
  plan.end = plan.left + plan.between;
}
const lineY = (side, i) => plan.top + (side === 'query' ? plan.row : plan.column) * (i + .5);
// Lines of like opacity go in one stroke: thousands are then drawn within a frame.
function strokeLines(context, lines, stroke, width, lift = 0) {
  const LEVELS = 16, levels = Array.from({ length: LEVELS }, () => new Path2D());
  const bend = plan.between * 0.4;
  for (const line of lines) {
    const level = levels[Math.min(LEVELS - 1, Math.floor(line.share * LEVELS))];
    const from = lineY('query', line.query) + lift, to = lineY('key', line.key) + lift;
    level.moveTo(plan.left, from);
    level.bezierCurveTo(plan.left + bend, from, plan.end - bend, to, plan.end, to);
  }
  context.strokeStyle = stroke;
  context.lineWidth = width;
  levels.forEach((level, i) => {
    context.globalAlpha = (i + 1) / LEVELS;
    context.stroke(level);
  });
  context.globalAlpha = 1;
}
// Thousands of lines would cover each other: those from like places to like places become one.
function bundles(layer, head) {
  const down = Math.max(1, rows / BUNDLES), across = Math.max(1, columns / BUNDLES), sums = new Map();
  let most = 0;
  eachLine(layer, head, HAZE, (query, key, weight) => {
    const name = Math.floor(query / down) * BUNDLES + Math.floor(key / across);
    const sum = (sums.get(name) || 0) + weight;
    sums.set(name, sum);
    if (sum > most) most = sum;
  });
  return Array.from(sums, ([name, weight]) => ({ share: weight / most,
    query: (Math.floor(name / BUNDLES) + .5) * down - .5, key: (name % BUNDLES + .5) * across - .5 }));
}
// What is drawn while no token is chosen: the strongest few of each query.
const plainLines = remembered((layer, head) => {
  if (rows > 2 * BUNDLES && columns > 2 * BUNDLES) return bundles(layer, head);
  const lines = [];
  eachLine(layer, head, HAZE, (query, key, weight, share) => lines.push({ query, key, share }));
  return lines;
});
const shownHeads = () => find('all').checked ? data.heads.map((_, h) => h) : [state.head];
const headHue = h => hue(find('all').checked ? h : 0);

function drawToken(context, side, i, bold, opacity, every) {
  const y = lineY(side, i);
  const room = (side === 'query' ? plan.left : plan.right) - 10;
  const text = side === 'query' ? rowLabel(i, every) : columnLabel(i, every);
  context.font = font(plan.font, bold);
  context.textAlign = side === 'query' ? 'right' : 'left';
  context.globalAlpha = opacity;
  context.fillStyle = style('--ink');
  context.fillText(fitted(context, text, room), side === 'query' ? plan.left - 6 : plan.end + 6, y);
  context.globalAlpha = 1;
}
function drawTokens(context, side, lines) {
  const count = side === 'query' ? rows : columns;
  const every = side === 'query' ? plan.down : plan.across;
  const bright = new Map(); // how strongly each token takes part
  if (state.only !== 'all') {
    for (const line of lines) bright.set(line[side], Math.max(bright.get(line[side]) || 0, line.share));
    if (side === state.only) bright.set(state[side], 2);
  }
  context.textBaseline = 'middle';
  const taken = []; // a label that has no room beside a stronger one is left out
  const free = y => every === 1 || taken.every(other => Math.abs(other - y) >= plan.font + 2);
  const put = (i, bold, opacity, step) => {
    if (!free(lineY(side, i))) return;
    taken.push(lineY(side, i));
    drawToken(context, side, i, bold, opacity, step);
  };
  const order = Array.from(bright.keys()).sort((a, b) => bright.get(b) - bright.get(a));
  for (const i of order.slice(0, 60)) put(i, bright.get(i) > 1, Math.min(1, .55 + bright.get(i)), 1);
  for (let i = 0; i < count; i += every) {
    if (!bright.has(i)) put(i, false, state.only === 'all' ? 1 : .5, every);
  }
}
// Behind each key, how much it gets of the chosen query (or the other way round); of several
// heads, below it, a piece each.
function drawShades(context, lines, fill, place, places) {
  const side = state.only === 'query' ? 'key' : 'query';
  const size = (side === 'key' ? plan.column : plan.row) - 1;
  const room = (side === 'key' ? plan.right : plan.left) / places;
  if (size < 6) return;
  const high = places > 1 ? 5 : size, left = side === 'key' ? plan.end : 0;
  context.fillStyle = fill;
  for (const line of lines) {
    context.globalAlpha = (places > 1 ? 1 : .5) * line.share;
    context.fillRect(left + place * room, lineY(side, line[side]) + size / 2 - high, room, high);
  }
  context.globalAlpha = 1;
}
function drawLines() {
  planLines();
  const heads = shownHeads(), width = plan.end + plan.right, height = plan.height + 16;
  const thick = Math.max(.7, Math.min(2.2, plan.row / 8)), chosen = [];
  const all = state.only === 'all' ? 'all' : 'one';
  const context = onBase(['lines', state.layer, heads.join(' '), all], width, height, under => {
    for (const h of all === 'all' ? heads : []) {
      strokeLines(under, plainLines(state.layer, h), headHue(h), thick);
    }
  });
  const beside = Math.min(1.5, plan.row / heads.length); // lines of several heads lie side by side
  (all === 'all' ? [] : heads).forEach((h, place) => {
    const mine = strongestFirst(linesOf(state.layer, h)[state.only].get(state[state.only]));
    const lines = heads.length > 1 ? mine.slice(0, HAZE) : mine;
    drawShades(context, mine, headHue(h), place, heads.length);
    // They are few, so the faintest may be seen.
    const seen = lines.map(line => ({ ...line, share: .2 + .8 * line.share }));
    strokeLines(context, seen, headHue(h), Math.max(1.2, thick),
      (place - (heads.length - 1) / 2) * beside);
    chosen.push(...lines);
  });
  drawTokens(context, 'query', chosen);
  drawTokens(context, 'key', chosen);
  find('drawing-name').textContent = (find('all').checked ? layerName() + ', all heads' : headName())
    + ': queries \u2192 keys';
}
function pointLines(x, y, hold) {
  const i = Math.floor((y - plan.top) / plan.row), j = Math.floor((y - plan.top) / plan.column);
  const middle = plan.left + plan.between / 2;
  if (i < 0 || j < 0 || i >= rows || j >= columns) return;
  if (hold) state.held = !state.held;
  else if (state.held) return;
  if (x < middle) showOnly('query', i);
  else showOnly('key', j);
}
function showOnly(side, i) {
  const same = state.only === side && state[side] === i;
  if (same) return;
  state.only = side, state[side] = i;
  if (side === 'query') chooseQuery(i);
  else drawView(), sayKey();
}
function sayKey() {
  const lines = strongestFirst(linesOf(state.layer, state.head).key.get(state.key)).slice(0, 3);
  say(keyName(state.key) + ' is looked at by ' + (lines.map(
    line => queryName(line.query) + weighed(line.weight)).join(', ') || 'no query'));
}

// ---------------------------------------------------------------------------------------- Bars

const barLabel = i => (data.bars[state.bars].of_keys ? keyLabel : queryLabel)(i);
const barName = i => (data.bars[state.bars].of_keys ? keyName : queryName)(i);
const barSide = () => data.bars[state.bars].of_keys ? 'key' : 'query';
function planBars(values) {
  const context = find('picture').getContext('2d');
  plan.lying = values.length <= 64;
  context.font = font(13);
  plan.left = plan.lying ? widest(context, values.length, barLabel, 1) : 60;
  plan.most = values.reduce((most, v) => Math.max(most, Number.isFinite(v) ? Math.abs(v) : 0), 0) || 1;
  plan.width = plan.lying ? Math.max(240, Math.min(640, find('panel').clientWidth - plan.left - 80))
    : Math.max(320, Math.min(1200, find('panel').clientWidth - 100));
  plan.height = plan.lying ? 22 * values.length : 260;
  plan.each = (plan.lying ? plan.height : plan.width) / values.length;
}
// The share of the longest bar; on a logarithmic scale four powers of ten.
function barShare(value) {
  const share = Number.isFinite(value) ? Math.abs(value) / plan.most : 0;
  return find('log').checked ? Math.max(0, 1 + Math.log10(share) / 4) : share;
}
function drawLyingBars(context, values) {
  context.textBaseline = 'middle';
  values.forEach((value, i) => {
    const y = 22 * i, length = plan.width * barShare(value);
    context.fillStyle = hue(value < 0 ? 1 : 0);
    context.fillRect(plan.left, y + 3, Math.max(length, .5), 16);
    context.fillStyle = style('--ink');
    context.font = font(13, i === state[barSide()]);
    context.textAlign = 'right';
    context.fillText(fitted(context, barLabel(i), plan.left - 8), plan.left - 6, y + 11);
    context.textAlign = 'left';
    context.fillText(written(value), plan.left + length + 6, y + 11);
  });
}
// Where several bars share a pixel the greatest is seen.
function drawStandingBars(context, values) {
  values.forEach((value, i) => {
    const length = plan.height * barShare(value);
    context.fillStyle = hue(value < 0 ? 4 : 0);
    context.fillRect(plan.left + plan.each * i, plan.height + 8 - length,
      Math.max(plan.each * .9, .7), length);
  });
  context.fillStyle = hue(1); // the chosen one, however short
  context.fillRect(plan.left + plan.each * (state[barSide()] + .5) - .75, 8, 1.5, plan.height);
  context.fillStyle = style('--faint');
  context.fillRect(plan.left, plan.height + 8, plan.width, 1);
  context.font = font(11);
  context.textAlign = 'right';
  context.fillText(written(plan.most), plan.left - 6, 16);
  const lowest = find('log').checked ? written(plan.most / 1e4) : '0';
  context.fillText(lowest, plan.left - 6, plan.height + 8);
  context.textAlign = 'left';
  const every = labelStep(values.length, 0);
  for (let i = 0; i < values.length; i += every) {
    context.fillText(String(i), plan.left + plan.each * i, plan.height + 22);
  }
}
function drawBars() {
  const values = barsOf(state.layer, state.head)[state.bars];
  planBars(values);
  const context = sized(find('picture'), plan.left + plan.width + (plan.lying ? 70 : 30),
    plan.height + (plan.lying ? 2 : 30));
  if (plan.lying) drawLyingBars(context, values);
  else drawStandingBars(context, values);
  find('drawing-name').textContent = headName() + ': ' + data.bars[state.bars].label;
}
function pointBars(x, y) {
  const values = barsOf(state.layer, state.head)[state.bars];
  const i = Math.floor((plan.lying ? y : x - plan.left) / plan.each);
  if (i >= 0 && i < values.length) chooseBar(i);
}
function chooseBar(i) {
  const values = barsOf(state.layer, state.head)[state.bars];
  state[barSide()] = Math.min(Math.max(i, 0), values.length - 1);
  drawView();
  say(barName(state[barSide()]) + ': ' + written(values[state[barSide()]]));
}

// ---------------------------------------------------------------------------------------- Grid

const thumbnails = new Map(); // small canvases by layer, head and theme
function thumbnail(layer, head) {
  const name = [layer, head, isDark()].join();
  if (!thumbnails.has(name)) {
    const m = data.matrix === 'weights' || data.matrix === 'blocks' ? matrixOf(layer, head)
      : sparseMatrix(topOf(layer, head));
    thumbnails.set(name, paint(document.createElement('canvas'), reduced(m, SMALL)));
  }
  return thumbnails.get(name);
}
const thumbX = h => plan.left + h * plan.step, thumbY = l => plan.top + l * plan.step;
let drawing = 0; // the latest grid that was begun: an older one stops
function drawGrid() {
  const count = data.heads.length, width = Math.max(find('panel').clientWidth - 16, 340);
  const context = sized(find('picture'), 1, 1);
  context.font = font(12);
  plan.left = widest(context, data.layers.length, l => data.layers[l], 1);
  plan.top = 22;
  plan.step = Math.max(22, Math.min(104, Math.floor((width - plan.left - 8) / count)));
  const page = sized(find('picture'), plan.left + count * plan.step + 4,
    plan.top + data.layers.length * plan.step + 4);
  page.imageSmoothingEnabled = false;
  page.font = font(12);
  page.fillStyle = style('--ink');
  page.textBaseline = 'middle';
  page.textAlign = 'right';
  data.layers.forEach((name, l) => page.fillText(name, plan.left - 6, thumbY(l) + plan.step / 2));
  page.textAlign = 'center';
  data.heads.forEach((name, h) => page.fillText(name, thumbX(h) + plan.step / 2, 12));
  find('drawing-name').textContent = 'Layers down, heads across; each scaled to its own largest';
  fillGrid(page, 0, ++drawing);
}
// A few milliseconds of it, then the page may answer before the next few.
function fillGrid(page, from, turn) {
  if (turn !== drawing || state.view !== 'grid') return;
  const end = performance.now() + 12, count = data.heads.length, all = data.layers.length * count;
  let n = from;
  for (; n < all && (n === from || performance.now() < end); n++) {
    const layer = Math.floor(n / count), head = n % count;
    markThumb(page, layer, head, false);
  }
  if (n > state.layer * count + state.head) markThumb(page, state.layer, state.head, true);
  if (n < all) requestAnimationFrame(() => fillGrid(page, n, turn));
}
function markThumb(page, layer, head, chosen) {
  const edge = width => {
    page.lineWidth = width;
    page.strokeRect(thumbX(head) - 1.5, thumbY(layer) - 1.5, plan.step - 1, plan.step - 1);
  };
  page.strokeStyle = style('--page');
  edge(4);
  page.strokeStyle = style(chosen ? '--ink' : '--line');
  edge(chosen ? 2.5 : 1);
  page.drawImage(thumbnail(layer, head), thumbX(head), thumbY(layer), plan.step - 4, plan.step - 4);
}
function chooseThumb(layer, head) {
  const page = find('picture').getContext('2d');
  if (layer < 0 || head < 0 || layer >= data.layers.length || head >= data.heads.length) return;
  page.imageSmoothingEnabled = false;
  markThumb(page, state.layer, state.head, false);
  state.layer = layer, state.head = head;
  markThumb(page, layer, head, true);
  drawHeads();
  say(headName() + '. Enter or a click opens it.');
}

// --------------------------------------------------------------------------------------- Table

function drawTable() {
  const index = state.statistic, values = data.statistics.map(layer => layer.map(head => head[index]));
  const all = values.flat(), low = Math.min(0, ...all), high = Math.max(...all);
  const table = document.createElement('table'), head = table.createTHead().insertRow();
  table.setAttribute('role', 'grid');
  table.classList.toggle('dense', data.heads.length > 20);
  head.append(document.createElement('th'));
  for (const name of data.heads) head.append(headed(String(name), 'col'));
  const body = table.createTBody();
  values.forEach((layer, l) => {
    const row = body.insertRow();
    row.append(headed(data.layers[l], 'row'));
    layer.forEach((value, h) => {
      const cell = row.insertCell(), shade = color((value - low) / (high - low || 1));
      const chosen = l === state.layer && h === state.head;
      cell.textContent = Math.abs(value) < 100 ? value.toFixed(2) : value.toPrecision(3);
      cell.style.background = css(shade), cell.style.color = textOn(shade);
      cell.tabIndex = chosen ? 0 : -1;
      cell.setAttribute('aria-selected', chosen);
      cell.setAttribute('aria-label',
        data.layers[l] + ', head ' + data.heads[h] + ': ' + written(value));
      cell.addEventListener('click', () => chooseCell(l, h));
    });
  });
  find('table').replaceChildren(table);
  find('drawing-name').textContent = 'Layers down, heads across: ' + data.statistic_names[index];
}
function headed(text, scope) {
  const cell = document.createElement('th');
  cell.textContent = text;
  cell.scope = scope;
  return cell;
}
const cellOf = (layer, head) => find('table').querySelector('tbody').rows[layer].cells[head + 1];
function chooseCell(layer, head) {
  if (layer < 0 || head < 0 || layer >= data.layers.length || head >= data.heads.length) return;
  const before = cellOf(state.layer, state.head), now = cellOf(layer, head);
  before.tabIndex = -1, before.setAttribute('aria-selected', false);
  now.tabIndex = 0, now.setAttribute('aria-selected', true);
  state.layer = layer, state.head = head;
  now.focus();
  drawHeads();
  say(now.getAttribute('aria-label'));
}

// ------------------------------------------------------------------------------------- Reading

// The tokens from `first` on, as many as are shown one by one.
const windowed = (count, at) => count <= FEW ? [0, count]
  : [Math.max(0, Math.min(at - 60, count - 120)), Math.min(count, Math.max(120, at + 60))];
const chips = { first: -1, last: -1 };
function drawQueryChips() {
  const [first, last] = windowed(rows, state.query), list = find('queries');
  const inside = state.query >= chips.first && state.query < chips.last;
  if (!inside) {
    const focused = list.contains(document.activeElement);
    chips.first = first, chips.last = last;
    list.replaceChildren(...Array.from({ length: last - first }, (_, n) => {
      const chip = document.createElement('button');
      chip.textContent = queryLabel(first + n) || ' ';
      chip.addEventListener('mouseenter', () => pickQuery(first + n));
      chip.addEventListener('click', () => pickQuery(first + n));
      return chip;
    }));
    if (focused) list.children[state.query - first].focus();
  }
  Array.from(list.children).forEach((chip, n) => {
    const chosen = chips.first + n === state.query;
    if (chip.tabIndex === (chosen ? 0 : -1) && chip.hasAttribute('aria-pressed')) return;
    chip.setAttribute('aria-pressed', chosen);
    chip.tabIndex = chosen ? 0 : -1;
  });
}
function drawKeyChips() {
  const weights = weightsOf(state.layer, state.head), shown = weights && columns <= FEW;
  find('key-part').hidden = !shown;
  if (!shown) return;
  const row = weights.subarray(state.query * columns, (state.query + 1) * columns);
  const { low, high } = matrix(row, 1, columns, 1, 1);
  Array.from(find('keys').children).forEach((chip, j) => {
    const shade = color((row[j] - low) / (high - low || 1));
    chip.style.background = css(shade), chip.style.color = textOn(shade);
    chip.lastChild.textContent = written(row[j]);
  });
}
// A key with a few words around it, where the text is too long to be shown.
function inContext(cell, key) {
  const faint = (from, to) => {
    const text = document.createElement('em');
    text.textContent = data.key_tokens.slice(Math.max(0, from), to).join(' ');
    return text;
  };
  if (columns <= FEW || !data.key_tokens.length) return void (cell.textContent = keyName(key));
  cell.append(faint(key - 2, key), ' ' + keyName(key) + ' ', faint(key + 1, key + 3));
}
function drawStrongest() {
  const table = find('strongest');
  table.replaceChildren();
  const found = strongestOf(state.layer, state.head, state.query, 10);
  for (const { key, weight } of found) {
    const row = table.insertRow(), bar = document.createElement('div');
    inContext(row.insertCell(), key);
    row.insertCell().textContent = weighed(weight);
    bar.style.width = 100 * weight / Math.max(1, found[0].weight) + '%';
    if (weighed(weight)) row.insertCell().append(bar);
  }
  const path = pathOf(state.layer, state.head);
  if (path && path[2 * state.query] !== none) {
    table.insertRow().insertCell().textContent = 'path: ' + keyName(path[2 * state.query]) + ' to '
      + keyName(path[2 * state.query + 1]);
  }
  find('strongest-name').hidden = table.rows.length === 0;
}
function drawReading() {
  find('query-name').textContent = 'Query: ' + queryName(state.query);
  find('query').value = state.query;
  find('query').setAttribute('aria-valuetext', queryName(state.query));
  drawQueryChips();
  drawKeyChips();
  drawStrongest();
}

// ------------------------------------------------------------------------------------ Choosing

const say = text => find('pointed').textContent = text;
const views = {
  matrix: { name: 'Matrix', draw: drawMatrix, point: pointMatrix, reading: true,
    help: 'On the picture: arrow keys move the query (up, down) and the key (left, right).' },
  lines: { name: 'Lines', draw: drawLines, point: pointLines, reading: true,
    help: 'Of each query the five strongest lines, until a token is chosen: by hovering, by a click '
      + 'that holds it, or on the picture by up and down; left and right choose its side, '
      + 'Escape shows all.' },
  bars: { name: 'Bars', draw: drawBars, point: pointBars,
    help: 'On the picture: arrow keys move from bar to bar.' },
  grid: { name: 'All heads', draw: drawGrid, wide: true,
    help: 'On the picture: arrow keys move through layers and heads, Enter opens the head.' },
  table: { name: 'Head statistics', draw: drawTable, wide: true,
    help: 'In the table: arrow keys move through layers and heads, Enter opens the head.' },
};
function drawView() {
  views[state.view].draw();
}
function chooseQuery(i) {
  state.query = Math.min(Math.max(i, 0), rows - 1);
  drawView();
  drawReading();
  if (state.view === 'matrix') sayPair();
  if (state.view === 'lines') {
    say(queryName(state.query) + ' looks at ' + (strongestOf(state.layer, state.head, state.query, 3)
      .map(({ key, weight }) => keyName(key) + weighed(weight)).join(', ') || 'no key'));
  }
}
function pickQuery(i) {
  if (state.view === 'lines') state.only = 'query';
  chooseQuery(i);
}
// Which head is chosen, in the strip above the picture.
function drawHeads() {
  find('layer').value = state.layer;
  Array.from(find('heads').children).forEach((button, h) => {
    const thumb = button.firstChild;
    button.setAttribute('aria-checked', h === state.head);
    button.setAttribute('aria-label', data.layers[state.layer] + ', head ' + data.heads[h]);
    button.tabIndex = h === state.head ? 0 : -1;
    button.lastChild.style.background = find('all').checked && state.view === 'lines' ? hue(h) : 'none';
    if (thumb.tagName !== 'CANVAS' || thumb.dataset.of === [state.layer, isDark()].join()) return;
    const from = thumbnail(state.layer, h);
    thumb.width = from.width, thumb.height = from.height;
    thumb.getContext('2d').drawImage(from, 0, 0);
    thumb.dataset.of = [state.layer, isDark()].join();
  });
}
function chooseHead(layer, head) {
  state.layer = Math.min(Math.max(layer, 0), data.layers.length - 1);
  state.head = Math.min(Math.max(head, 0), data.heads.length - 1);
  drawHeads();
  drawView();
  if (views[state.view].reading) drawReading();
}
function chooseView(name) {
  const view = views[name];
  state.view = name;
  for (const tab of find('views').children) {
    const chosen = tab.dataset.view === name;
    tab.setAttribute('aria-selected', chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  find('panel').setAttribute('aria-label', view.name);
  find('reading').hidden = !view.reading;
  find('heads').hidden = Boolean(view.wide) || data.heads.length < 2;
  find('layer-label').hidden = Boolean(view.wide) || data.layers.length < 2;
  find('scroll').hidden = name === 'table', find('table').hidden = name !== 'table';
  find('all-label').hidden = name !== 'lines' || data.heads.length < 2;
  find('bars-label').hidden = name !== 'bars' || data.bars.length < 2;
  find('log-label').hidden = name !== 'bars';
  find('statistic-label').hidden = name !== 'table';
  find('picture').setAttribute('aria-label', view.name + '. ' + view.help);
  find('help').textContent = view.help + (view.wide ? '' : ' On the heads: left and right choose a '
    + 'head, up and down a layer.') + ' Tab goes from part to part.';
  say('');
  state.only = 'all', state.held = false;
  chooseHead(state.layer, state.head);
}
function chooseTheme(name) {
  state.theme = name;
  for (const button of find('theme').children) {
    const chosen = button.dataset.theme === name;
    button.setAttribute('aria-checked', chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
  state.dark = name === 'auto' ? prefersDark.matches : name === 'dark';
  document.documentElement.toggleAttribute('data-dark', state.dark);
}

// -------------------------------------------------------------------------------- Mouse and keys

const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const pages = { PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };
const clamp = (i, count) => Math.min(Math.max(i, 0), count - 1);

const moves = {
  matrix([down, across]) {
    const m = matrixOf(state.layer, state.head);
    state.key = clamp(state.key + across * m.perColumn, columns);
    chooseQuery(state.query + down * (Math.abs(down) > 1 ? 1 : m.perRow));
  },
  lines([down, across]) {
    if (across) state.only = across < 0 ? 'query' : 'key';
    const side = state.only === 'all' ? 'query' : state.only, count = side === 'query' ? rows : columns;
    const to = clamp(state.only === 'all' ? state[side] : state[side] + down, count);
    state.only = '';
    showOnly(side, to);
  },
  bars([down, across]) {
    chooseBar(state[barSide()] + down + across);
  },
  grid([down, across]) {
    chooseThumb(state.layer + down, state.head + across);
  },
  table([down, across]) {
    chooseCell(state.layer + down, state.head + across);
  },
};
function onPictureKey(event) {
  const move = arrows[event.key] || (pages[event.key] && [pages[event.key], 0]);
  if (event.key === 'Enter' && views[state.view].wide) return openHead();
  if (event.key === 'Escape' && state.view === 'lines') {
    state.only = 'all', state.held = false;
    return chooseHead(state.layer, state.head);
  }
  if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  moves[state.view](move);
}
function openHead() {
  const first = ['matrix', 'lines', 'bars'].find(offered);
  if (!first) return;
  chooseView(first);
  find('picture').focus();
}
// Arrow keys, Home and End move along a row of buttons; Tab reaches the chosen one.
function moveByKeys(list, choose, leave) {
  list.addEventListener('keydown', event => {
    const at = Array.from(list.children).indexOf(document.activeElement);
    const end = list.children.length - 1;
    const [down, across] = arrows[event.key] || [0, 0];
    let to = { Home: 0, End: end }[event.key];
    if (to === undefined && (down || across)) to = leave && down ? undefined : at + down + across;
    if (at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    if (to === undefined && !(leave && down)) return;
    event.preventDefault();
    if (to === undefined) leave(down);
    else choose(clamp(to, end + 1));
  });
}
function listen() {
  const picture = find('picture');
  const thumbAt = event => [Math.floor((event.offsetY - plan.top) / plan.step),
    Math.floor((event.offsetX - plan.left) / plan.step)];
  picture.addEventListener('mousemove', event => {
    if (views[state.view].point) views[state.view].point(event.offsetX, event.offsetY);
  });
  picture.addEventListener('click', event => {
    if (state.view === 'lines') pointLines(event.offsetX, event.offsetY, true);
    if (state.view !== 'grid') return;
    const [layer, head] = thumbAt(event);
    chooseThumb(layer, head);
    if (layer === state.layer && head === state.head) openHead();
  });
  picture.addEventListener('mouseleave', () => {
    if (state.view !== 'lines' || state.held || state.only === 'all') return;
    state.only = 'all';
    drawView();
  });
  picture.addEventListener('keydown', onPictureKey);
  find('table').addEventListener('keydown', onPictureKey);
  find('table').addEventListener('dblclick', openHead);
  find('layer').addEventListener('change', event => chooseHead(Number(event.target.value), state.head));
  find('all').addEventListener('change', () => chooseHead(state.layer, state.head));
  find('log').addEventListener('change', drawView);
  find('query').addEventListener('input', event => pickQuery(Number(event.target.value)));
  find('bars').addEventListener('change', event => {
    state.bars = Number(event.target.value);
    drawView();
  });
  find('statistic').addEventListener('change', event => {
    state.statistic = Number(event.target.value);
    drawView();
  });
  const redraw = () => {
    chooseTheme(state.theme);
    chooseHead(state.layer, state.head);
  };
  prefersDark.addEventListener('change', redraw);
  addEventListener('resize', () => drawView());
}

// ------------------------------------------------------------------------------------ Building

const offered = name => ({
  matrix: data.matrix !== '' || data.path,
  lines: data.matrix === 'weights' || data.top > 0,
  bars: data.bars.length > 0,
  grid: data.matrix !== '' && data.layers.length * data.heads.length > 1,
  table: data.statistics.length > 0,
})[name];

function addButton(list, role, text, choose) {
  const button = document.createElement('button');
  button.setAttribute('role', role);
  button.textContent = text;
  button.addEventListener('click', choose);
  list.append(button);
  return button;
}
function addHead(name, h) {
  const button = document.createElement('button');
  button.setAttribute('role', 'radio');
  if (data.matrix !== '') button.append(document.createElement('canvas'));
  button.append(String(name), document.createElement('i'));
  button.addEventListener('click', () => chooseHead(state.layer, h));
  find('heads').append(button);
}
function build() {
  const count = (n, what) => n + ' ' + what + (n === 1 ? '' : 's');
  document.title = data.title;
  find('title').textContent = data.title;
  const rowsOf = data.layers[0].startsWith('batch') ? 'Batch' : 'Layer';
  find('layer-name').textContent = rowsOf;
  const layers = rowsOf === 'Layer' ? count(data.layers.length, 'layer')
    : 'batch of ' + data.layers.length;
  find('about').textContent = [layers, count(data.heads.length, 'head'),
    rows + (rows === 1 ? ' query' : ' queries'), count(columns, 'key')].join(', ')
    + (data.note ? '; ' + data.note : '') + '. Made by attn ' + data.version + '.';
  for (const name of ['auto', 'light', 'dark']) {
    addButton(find('theme'), 'radio', name[0].toUpperCase() + name.slice(1), () => {
      chooseTheme(name);
      chooseHead(state.layer, state.head);
    }).dataset.theme = name;
  }
  moveByKeys(find('theme'), i => {
    find('theme').children[i].click();
    find('theme').children[i].focus();
  });
  for (const name of Object.keys(views).filter(offered)) {
    addButton(find('views'), 'tab', views[name].name, () => chooseView(name)).dataset.view = name;
  }
  moveByKeys(find('views'), i => {
    find('views').children[i].click();
    find('views').children[i].focus();
  });
  data.layers.forEach((name, l) => find('layer').add(new Option(name, l)));
  data.bars.forEach((bars, i) => find('bars').add(new Option(bars.label, i)));
  data.statistic_names.forEach((name, i) => find('statistic').add(new Option(name, i)));
  data.heads.forEach(addHead);
  moveByKeys(find('heads'), h => {
    chooseHead(state.layer, h);
    find('heads').children[h].focus();
  }, down => chooseHead(state.layer + down, state.head));
  find('query').max = rows - 1;
  find('query').hidden = rows < 2;
  moveByKeys(find('queries'), n => {
    pickQuery(chips.first + n);
    find('queries').children[state.query - chips.first].focus();
  });
  if (data.matrix === 'weights' && columns <= FEW) {
    for (let j = 0; j < columns; j++) {
      const chip = document.createElement('span');
      chip.append(keyLabel(j) || ' ', document.createElement('small'));
      find('keys').append(chip);
    }
  }
  listen();
  chooseTheme('auto');
  chooseView(offered(state.view) ? state.view : Object.keys(views).find(offered));
}
build();
