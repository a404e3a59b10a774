// What cargo-deny would say of licences, bans and sources by deny.toml, for where it is not installed. Reads the output of
// `cargo metadata` from stdin; ends with 1 and every finding, each in a line.
//
// Dependencies of tests and of other systems than Linux count too: a rule that a crate breaks only there is still broken.
import { readFileSync } from 'node:fs';

const rules = readFileSync(new URL('../deny.toml', import.meta.url), 'utf8').replace(/^\s*#.*$/gm, '');
const list = (key) => new RegExp(`^${key} = \\[([^\\]]*)\\]`, 'm').exec(rules)?.[1] ?? '';
const strings = (key) => [...list(key).matchAll(/"([^"]+)"/g)].map(([, text]) => text);
const allowed = new Set(strings('allow'));
const registries = strings('allow-registry').map((url) => `registry+${url}`);
const banned = new Map([...list('deny').matchAll(/crate = "([^"]+)", reason = "([^"]+)"/g)].map(([, name, why]) => [name, why]));
if (allowed.size < 5 || registries.length !== 1 || banned.size < 1) throw new Error('deny.toml could not be read');

/** Whether an SPDX expression can be met with licences that are allowed: `OR` binds weaker than `AND`. */
function permits(expression) {
  const tokens = expression.replaceAll('/', ' OR ').match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const or = () => {
    let holds = and();
    while (tokens[at] === 'OR') { at += 1; const other = and(); holds ||= other; }
    return holds;
  };
  const and = () => {
    let holds = one();
    while (tokens[at] === 'AND') { at += 1; const other = one(); holds &&= other; }
    return holds;
  };
  const one = () => {
    if (tokens[at] === '(') { at += 1; const holds = or(); at += 1; return holds; }
    let name = tokens[at]; at += 1;
    if (tokens[at] === 'WITH') { name += ` WITH ${tokens[at + 1]}`; at += 2; }
    return allowed.has(name);
  };
  return or() && at === tokens.length;
}

const { packages, workspace_members: own } = JSON.parse(readFileSync(0, 'utf8'));
const findings = [];
for (const { name, version, license, source, id, dependencies } of packages) {
  const say = (what) => findings.push(`${name} ${version}: ${what}`);
  const isOwn = own.includes(id);
  if (!license) say('names no licence');
  else if (!permits(license)) say(`its licence is not among those of deny.toml: ${license}`);
  if (!isOwn && !registries.includes(source)) say(`comes from ${source ?? 'a folder'}`);
  if (banned.has(name)) say(`is banned: ${banned.get(name)}`);
  if (isOwn) for (const { name: wanted, req } of dependencies) if (req === '*') say(`takes any version of ${wanted}`);
}
if (packages.length < 50) findings.push('cargo metadata names hardly any package');
for (const finding of findings) console.error(finding);
if (!findings.length) console.log(`${packages.length} packages`);
process.exitCode = findings.length ? 1 : 0;
