// Draws the samples of a soak as SVG, and judges them: flat or not.

const WIDTH = 900;
const LEFT = 90;
const RIGHT = 24;
const ROW = 130;
const TOP = 64;

// The first fifth is warm-up: pools fill, the allocator finds its size. `allowed` is growth from the median of what follows
// to the median of the last quarter.
const WARM_UP = 0.2;

export const SERIES = [
  { column: 'rss_mib', title: 'Memory (VmRSS), MiB', colour: '#d55e00', allowed: (median) => 2 + 0.05 * median },
  { column: 'descriptors', title: 'Open descriptors', colour: '#0072b2', allowed: (median) => 10 + 0.1 * median },
  { column: 'threads', title: 'Threads', colour: '#009e73', allowed: () => 2 },
  { column: 'exchanges', title: 'Tasks: exchanges and tunnels in flight', colour: '#cc79a7', allowed: (median) => 10 + 0.2 * median },
  { column: 'requests', title: 'Requests a second', colour: '#666666' },
];

/** Rows of `seconds,...` as objects of numbers. */
export function parse(csv) {
  const [head, ...lines] = csv.trim().split('\n');
  const names = head.split(',');
  return lines.map((line) => Object.fromEntries(line.split(',').map((field, nth) => [names[nth], Number(field)])));
}

/** For each series that is judged: medians early and late, the slope an hour by least squares, and the verdict. */
export function judge(rows) {
  const last = rows.at(-1)?.seconds ?? 0;
  const settled = rows.filter((row) => row.seconds >= last * WARM_UP);
  return SERIES.filter((series) => series.allowed).map((series) => {
    const values = settled.map((row) => row[series.column]);
    const quarter = Math.max(1, Math.floor(values.length / 4));
    const early = median(values.slice(0, quarter));
    const late = median(values.slice(-quarter));
    const slope = slopeOf(settled.map((row) => row.seconds / 3600), values);
    return { ...series, early, late, slope, flat: late - early <= series.allowed(early) };
  });
}

export function draw(rows, title) {
  const height = TOP + ROW * SERIES.length + 10;
  const last = rows.at(-1)?.seconds || 1;
  const x = (seconds) => LEFT + (seconds / last) * (WIDTH - LEFT - RIGHT);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" `
      + 'font-family="system-ui, sans-serif" font-size="12">',
    `<title>${title}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    `<text x="16" y="26" font-size="15" font-weight="600" fill="#222222">${title}</text>`,
    `<text x="16" y="45" fill="#666666">grey: warm-up, not judged; the axis below is minutes</text>`,
  ];
  SERIES.forEach(({ column, title: name, colour }, nth) => {
    const top = TOP + nth * ROW + 22;
    const bottom = top + ROW - 44;
    const most = Math.max(1, ...rows.map((row) => row[column])) * 1.1;
    const y = (value) => bottom - (value / most) * (bottom - top);
    parts.push(`<rect x="${LEFT}" y="${top}" width="${(x(last * WARM_UP) - LEFT).toFixed(1)}" height="${bottom - top}" fill="#f2f2f2"/>`);
    parts.push(`<text x="${LEFT}" y="${top - 6}" fill="#222222">${name}</text>`);
    for (const share of [0, 0.5, 1]) {
      const value = most * share;
      parts.push(`<line x1="${LEFT}" y1="${y(value).toFixed(1)}" x2="${WIDTH - RIGHT}" y2="${y(value).toFixed(1)}" stroke="#e4e4e4"/>`);
      parts.push(`<text x="${LEFT - 8}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end" fill="#666666">${value.toFixed(most < 20 ? 1 : 0)}</text>`);
    }
    const points = rows.map((row) => `${x(row.seconds).toFixed(1)},${y(row[column]).toFixed(1)}`).join(' ');
    parts.push(`<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="1.5"/>`);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(`<text x="${x(last * share).toFixed(1)}" y="${bottom + 14}" text-anchor="middle" fill="#999999">${((last * share) / 60).toFixed(0)}</text>`);
    }
  });
  return [...parts, '</svg>', ''].join('\n');
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function slopeOf(xs, ys) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const [mx, my] = [mean(xs), mean(ys)];
  const above = xs.reduce((sum, x, nth) => sum + (x - mx) * (ys[nth] - my), 0);
  const below = xs.reduce((sum, x) => sum + (x - mx) ** 2, 0);
  return below === 0 ? 0 : above / below;
}
