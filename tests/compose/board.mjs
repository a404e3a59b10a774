// What the Grafana board and the alerts ask Prometheus. As a program: writes the board's queries as a file of rules, which
// promtool can check.
//
//   node tests/compose/board.mjs > rules.json && promtool check rules rules.json

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const board = JSON.parse(readFileSync(new URL('../../deploy/grafana/dashboards/lintel.json', import.meta.url), 'utf8'));

export function panelQueries() {
  return board.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const annotations = board.annotations.list.filter(({ expr }) => expr).map(({ name, expr }) => ({ title: name, expr }));
  const rules = [...panelQueries(), ...annotations].map(({ expr }, number) => ({
    record: `panel:${number}`,
    expr: expr.replaceAll('$__rate_interval', '1m').replaceAll('$tier', 'front').replaceAll('$route', '.*'),
  }));
  console.log(JSON.stringify({ groups: [{ name: 'board', rules }] }));
}
