// judge.py for clients in JavaScript: capabilities that print rows, and a look at the org by plain fetch.
import assert from 'node:assert/strict';
import { readFileSync, writeSync } from 'node:fs';

const API = '/services/data/v65.0';
const ID = /^[0-9A-Za-z]{15}([0-9A-Z]{3})?$/;

class Org {
  constructor(facts) {
    Object.assign(this, facts);
    this.damages = 0;
    this.corrupting = process.env.CONFORMANCE_CORRUPT === '1';
  }

  async call(method, path, body) {
    const headers = { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' };
    const answer = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    assert(answer.ok, `${method} ${path}: ${answer.status} ${text.slice(0, 300)}`);
    return text ? JSON.parse(text) : undefined;
  }

  // Records of every page; a parent's field under its path (Account.Name).
  async rows(soql) {
    const found = [];
    for (let path = `${API}/query?q=${encodeURIComponent(soql)}`; path; ) {
      const page = await this.call('GET', path);
      found.push(...page.records.map((record) => flat(record)));
      path = page.nextRecordsUrl;
    }
    return found;
  }

  async count(where) {
    return (await this.call('GET', `${API}/query?q=${encodeURIComponent(`SELECT COUNT() FROM ${where}`)}`)).totalSize;
  }

  // What a client that reads these records must find. Name a text field first behind Id.
  async truth(soql) {
    const found = await this.rows(soql);
    assert(found.length, `nothing to compare: ${soql}`);
    if (this.corrupting) await this.#damage(found.at(-1));
    return found;
  }

  // Each record, by its key, holds these values; absence is null instead of values.
  async holds(object, wanted, key = 'Id') {
    const keys = Object.keys(wanted);
    const list = (some) => some.map((one) => `'${one.replace(/[\\']/g, '\\$&')}'`).join(',');
    if (this.corrupting) {
      const one = keys.find((each) => wanted[each]);
      assert(one, 'a look at absence alone cannot be wrong: name a record that stays');
      const [row] = await this.rows(`SELECT Id FROM ${object} WHERE ${key} = ${list([one])}`);
      if (row) await this.#damage({ Id: row.Id, ...wanted[one] });
    }
    const fields = new Set([key, ...Object.values(wanted).flatMap((values) => Object.keys(values ?? {}))]);
    const rows = await this.rows(`SELECT ${[...fields]} FROM ${object} WHERE ${key} IN (${list(keys)})`);
    const found = Object.fromEntries(rows.map((row) => [row[key], row]));
    assert.equal(Object.keys(found).length, rows.length, `${object}: one key, several records`);
    for (const [one, values] of Object.entries(wanted)) {
      if (values === null) assert(!found[one], `${object} ${one} is still there`);
      else {
        assert(found[one], `${object} ${one} is not there`);
        assert.deepEqual(pick(found[one], Object.keys(values)), values, `${object} ${one}: ${difference(values, found[one])}`);
      }
    }
  }

  async #damage(row) {
    const field = Object.keys(row).find((name) => name !== 'Id' && !name.includes('.') && typeof row[name] === 'string' && !ID.test(row[name]));
    this.damages += 1;
    await this.call('PATCH', `/__sim/records/${row.Id}`, { [field]: `damaged ${this.damages}` });
  }
}

export function flat(record, prefix = '') {
  const row = {};
  for (const [name, value] of Object.entries(record)) {
    if (name === 'attributes') continue;
    if (value?.attributes) Object.assign(row, flat(value, `${prefix}${name}.`));
    else row[prefix + name] = value;
  }
  return row;
}

export const pick = (row, names) => Object.fromEntries(names.map((name) => [name, row[name]]));

function difference(wanted, has) {
  const names = Object.keys(wanted).filter((name) => JSON.stringify(wanted[name]) !== JSON.stringify(has[name]));
  return names.slice(0, 3).map((name) => `${name} is ${JSON.stringify(has[name])}, not ${JSON.stringify(wanted[name])}`).join(', ');
}

// Both lists hold the same records with the same values, in any order.
export function same(wanted, has) {
  const found = new Map(has.map((row) => [row.Id, row]));
  assert.equal(found.size, has.length, 'a record came twice');
  assert.equal(found.size, wanted.length, `${found.size} records, not ${wanted.length}`);
  for (const row of wanted) {
    const other = found.get(row.Id);
    assert(other, `${row.Id} is missing`);
    assert.deepEqual(other, row, `${row.Id}: ${difference(row, other)}`);
  }
  return `${wanted.length} records`;
}

// What Bulk API wrote as text, in the types of the records that are wanted (94623.0 is 94623 here).
export function fromCsv(rows, wanted) {
  const types = {};
  for (const row of wanted) for (const [name, value] of Object.entries(row)) if (value !== null) types[name] = typeof value;
  const typed = (name, text) => {
    if (text === '') return null;
    if (types[name] === 'number') return Number(text);
    if (types[name] === 'boolean') return { true: true, false: false }[text];
    return text.replace(/(T..:..:..\.000)Z$/, '$1+0000');
  };
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, text]) => [name, typed(name, text)])));
}

// The error that the call must raise.
export async function refused(call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    return error;
  }
  throw new Error(`accepted: ${JSON.stringify(answer).slice(0, 200)}`);
}

// Rows alone go to standard output: what a client prints there is moved to standard error.
process.stdout.write = process.stderr.write.bind(process.stderr);

export const org = (name = 'source') => new Org(JSON.parse(readFileSync(process.env[`CONFORMANCE_ORG_${name.toUpperCase()}`])));

// Runs them in order; each prints one row, whatever befalls the others.
export async function run(capabilities) {
  const client = process.env.CONFORMANCE_CLIENT;
  for (const [capability, action] of Object.entries(capabilities)) {
    const began = performance.now();
    let row;
    try {
      row = { client, capability, pass: true, detail: (await action()) ?? '' };
    } catch (error) {
      console.error(error);
      row = { client, capability, pass: false, detail: `${error.errorCode ?? error.name}: ${error.message}`.replace(/\s+/g, ' ').slice(0, 400) };
    }
    console.error(`${capability}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    writeSync(1, `${JSON.stringify(row)}\n`);
  }
}
