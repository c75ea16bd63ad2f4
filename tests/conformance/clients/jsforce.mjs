// jsforce, as its users write it: logins, describe, queries, records singly and by the hundred, both Bulk APIs, limits, errors.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { flat, fromCsv, org, pick, refused, run, same } from '../judge.mjs';

const jsforce = createRequire(`${process.env.CONFORMANCE_TOOLS}/package.json`)('jsforce');
const VERSION = '60.0';
const ROWS = 250;
const POLL = { interval: 100, timeout: 60000 };
const OPPORTUNITIES = 'SELECT Id, Name, StageName, CloseDate, Amount, IsClosed FROM Opportunity';

const source = org();
const token = () => new jsforce.Connection({ instanceUrl: source.https_url, accessToken: source.token, version: VERSION });
const oauth2 = { loginUrl: source.https_url, clientId: source.client_id, clientSecret: source.client_secret, redirectUri: source.redirect_uri };
const client = token();
const accounts = client.sobject('Account');
const contacts = client.sobject('Contact');

// The session that a login gave answers for the org that was asked.
async function works(connection, who) {
  assert.equal(who.organizationId, source.org_id);
  assert.equal(who.id, source.user_id);
  const found = await connection.query('SELECT Id FROM Organization');
  assert.equal(found.records[0].Id, source.org_id);
  return `${connection._sessionType} at ${connection.instanceUrl}`;
}

const people = (mark) =>
  Array.from({ length: ROWS }, (_, n) => ({ LastName: `${mark}, "${n}"\nline`, Ext_Id__c: `${mark}-${n}`, Email: `${mark}${n}@example.com` }));
const byKey = (records) => Object.fromEntries(records.map(({ Ext_Id__c, ...values }) => [Ext_Id__c, values]));
const ids = async (mark) => (await source.rows(`SELECT Id FROM Contact WHERE Ext_Id__c LIKE '${mark}-%'`)).map((row) => row.Id);
const halfNew = (mark) => Array.from({ length: ROWS }, (_, n) => ({ Ext_Id__c: `${mark}-${n + ROWS / 2}`, LastName: `upserted ${n}` }));

function allSaved(results, rows = ROWS) {
  assert.equal(results.length, rows);
  assert(results.every((one) => one.success && one.errors.length === 0), JSON.stringify(results.find((one) => !one.success)));
  return `${rows} rows`;
}

async function bulk2(operation, records, more = {}) {
  client.bulk2.pollInterval = POLL.interval;
  client.bulk2.pollTimeout = POLL.timeout;
  return client.bulk2.loadAndWaitForResults({ object: 'Contact', operation, input: records, ...more });
}

function allLoaded(results, rows = ROWS) {
  assert.deepEqual([results.successfulResults.length, results.failedResults.length, results.unprocessedRecords.length], [rows, 0, 0]);
  return `${rows} rows`;
}

async function bulk1(operation, records, options) {
  client.bulk.pollInterval = POLL.interval;
  client.bulk.pollTimeout = POLL.timeout;
  return client.bulk.load('Contact', operation, options ?? records, options ? records : undefined);
}

// One is deleted, then the others, and a record that nobody named stays.
async function deletes(mark, destroy) {
  const made = await ids(mark);
  const kept = await contacts.create({ LastName: 'kept' });
  const said = await destroy(made);
  await source.holds('Contact', { ...Object.fromEntries(made.slice(0, 100).map((id) => [id, null])), [kept.id]: { LastName: 'kept' } });
  assert.deepEqual(await ids(mark), []);
  return said;
}

// Records by their keys hold what was sent.
async function writes(records, key, said) {
  await source.holds('Contact', key === 'Id' ? Object.fromEntries(records.map(({ Id, ...values }) => [Id, values])) : byKey(records), key);
  return said;
}

const changes = async (mark) => (await ids(mark)).map((Id, n) => ({ Id, FirstName: `changed ${n}`, Phone: '+1 555 0100' }));

await run({
  // ---- logging in
  'login-token': async () => works(client, { organizationId: (await client.identity()).organization_id, id: (await client.identity()).user_id }),
  'login-soap': async () => {
    const connection = new jsforce.Connection({ loginUrl: source.https_url, version: VERSION });
    return works(connection, await connection.login(source.username, source.password + source.security_token));
  },
  'login-oauth-password': async () => {
    const connection = new jsforce.Connection({ oauth2, version: VERSION });
    return works(connection, await connection.loginByOAuth2(source.username, source.password + source.security_token));
  },
  'login-client-credentials': async () => {
    const connection = new jsforce.Connection({ oauth2, version: VERSION });
    return works(connection, await connection.authorize({ grant_type: 'client_credentials' }));
  },
  'login-refused': async () => {
    const connection = new jsforce.Connection({ loginUrl: source.https_url, version: VERSION });
    const soap = await refused(() => connection.login(source.username, 'wrong'));
    assert.match(soap.message, /INVALID_LOGIN/);
    const oauth = await refused(() => new jsforce.Connection({ oauth2, version: VERSION }).loginByOAuth2(source.username, 'wrong'));
    assert.equal(oauth.name, 'invalid_grant');
    return `INVALID_LOGIN, ${oauth.name}`;
  },
  'session-refresh': async () => {
    const given = { oauth2, instanceUrl: source.https_url, accessToken: `${source.org_id.slice(0, 15)}!no.longer`, refreshToken: source.refresh_token };
    const connection = new jsforce.Connection({ ...given, version: VERSION });
    let refreshes = 0;
    connection.on('refresh', () => (refreshes += 1));
    const found = await connection.query('SELECT Id FROM Organization');
    assert.deepEqual([found.records[0].Id, refreshes], [source.org_id, 1]);
    return 'a 401, one refresh, the query again';
  },
  'session-expired': async () => {
    const error = await refused(() => new jsforce.Connection({ instanceUrl: source.https_url, accessToken: 'no session', version: VERSION }).query('SELECT Id FROM Account'));
    assert.equal(error.errorCode, 'INVALID_SESSION_ID');
    return error.message;
  },
  logout: async () => {
    const connection = new jsforce.Connection({ oauth2, version: VERSION });
    await connection.authorize({ grant_type: 'client_credentials' });
    const { accessToken, instanceUrl } = connection;
    await connection.logout();
    const error = await refused(() => new jsforce.Connection({ instanceUrl, accessToken, version: VERSION }).query('SELECT Id FROM Account'));
    assert.equal(error.errorCode, 'INVALID_SESSION_ID');
    return 'the token is void';
  },

  // ---- what there is
  versions: async () => {
    const versions = await client.request('/services/data');
    assert(versions.some((one) => one.version === VERSION && one.url === `/services/data/v${VERSION}`));
    return `${versions[0].version} to ${versions.at(-1).version}`;
  },
  'describe-global': async () => {
    const names = (await client.describeGlobal()).sobjects.map((one) => one.name);
    for (const name of ['Account', 'Contact', 'Opportunity', 'User']) assert(names.includes(name), name);
    return `${names.length} objects`;
  },
  describe: async () => {
    const found = await accounts.describe();
    const fields = Object.fromEntries(found.fields.map((field) => [field.name, field]));
    assert.deepEqual(pick(fields.Ext_Id__c, ['type', 'externalId', 'unique', 'custom']), { type: 'string', externalId: true, unique: true, custom: true });
    assert.deepEqual(fields.ParentId.referenceTo, ['Account']);
    assert(found.childRelationships.some((one) => one.childSObject === 'Contact' && one.relationshipName === 'Contacts'));
    assert(fields.Industry.picklistValues.some((one) => one.value === 'Banking' && one.active));
    return `${found.fields.length} fields, ${found.childRelationships.length} relations`;
  },
  limits: async () => {
    const before = (await client.limits()).DailyApiRequests;
    for (let n = 0; n < 5; n += 1) await client.query('SELECT Id FROM Account LIMIT 1');
    const after = (await client.limits()).DailyApiRequests;
    assert.equal(before.Remaining - after.Remaining, 6);
    assert.deepEqual(client.limitInfo.apiUsage, { used: after.Max - after.Remaining, limit: after.Max });
    return `${client.limitInfo.apiUsage.used} of ${after.Max}`;
  },

  // ---- reading
  query: async () => {
    const soql = "SELECT Id, Name, Industry, AnnualRevenue, CreatedDate FROM Account WHERE Industry = 'Banking' ORDER BY Name LIMIT 50";
    const wanted = await source.truth(soql);
    const found = await client.query(soql);
    assert.deepEqual([found.totalSize, found.done], [wanted.length, true]);
    return same(wanted, found.records.map((record) => flat(record)));
  },
  'query-paging': async () => {
    const wanted = await source.truth(OPPORTUNITIES);
    const found = [];
    let page = await client.query(OPPORTUNITIES);
    let pages = 1;
    for (found.push(...page.records); !page.done; pages += 1) {
      page = await client.queryMore(page.nextRecordsUrl);
      found.push(...page.records);
    }
    assert(pages > 1);
    return `${same(wanted, found.map((record) => flat(record)))} in ${pages} pages`;
  },
  'query-events': async () => {
    const wanted = await source.truth(OPPORTUNITIES);
    const found = [];
    await new Promise((resolve, reject) => {
      const query = client.query(OPPORTUNITIES).on('record', (record) => found.push(flat(record))).on('end', resolve).on('error', reject);
      query.run({ autoFetch: true, maxFetch: 10000 });
    });
    return same(wanted, found);
  },
  'query-builder': async () => {
    const wanted = await source.truth("SELECT Id, Email, LastName, Account.Name FROM Contact WHERE LastName LIKE 'S%' AND Email != null ORDER BY LastName LIMIT 30");
    const found = await contacts.find({ LastName: { $like: 'S%' }, Email: { $ne: null } }, 'Id, LastName, Email, Account.Name').sort({ LastName: 1 }).limit(30);
    return same(wanted, found.map((record) => flat(record)));
  },
  'query-children': async () => {
    const wanted = await source.truth("SELECT Id, LastName, AccountId FROM Contact WHERE Account.Industry = 'Banking'");
    const found = await accounts.find({ Industry: 'Banking' }, 'Id').include('Contacts').select('Id, LastName, AccountId').end().execute();
    return same(wanted, found.flatMap((parent) => parent.Contacts?.records ?? []).map((record) => flat(record)));
  },
  'query-all': async () => {
    const made = await accounts.create([{ Name: 'jsforce gone' }, { Name: 'jsforce kept' }]);
    await accounts.destroy(made[0].id);
    await source.holds('Account', { [made[0].id]: null, [made[1].id]: { Name: 'jsforce kept' } });
    const found = await client.query("SELECT Id, IsDeleted FROM Account WHERE Name LIKE 'jsforce %'", { scanAll: true });
    assert.deepEqual(Object.fromEntries(found.records.map((one) => [one.Id, one.IsDeleted])), { [made[0].id]: true, [made[1].id]: false });
    return 'one deleted, one not';
  },
  search: async () => {
    const [wanted] = await source.truth("SELECT Id, LastName, Email FROM Contact WHERE Email LIKE '%@%' ORDER BY Email LIMIT 1");
    const found = await client.search(`FIND {"${wanted.Email}"} IN EMAIL FIELDS RETURNING Contact(Id, LastName, Email)`);
    assert.deepEqual(found.searchRecords.map((one) => flat(one)).find((one) => one.Id === wanted.Id), wanted);
    return `${found.searchRecords.length} found`;
  },
  'updated-and-deleted': async () => {
    const [made, gone] = await accounts.create([{ Name: 'changed' }, { Name: 'gone' }]);
    await accounts.destroy(gone.id);
    const [start, end] = [-120000, 120000].map((ms) => new Date(Date.now() + ms).toISOString());
    assert((await accounts.updated(start, end)).ids.includes(made.id));
    assert((await accounts.deleted(start, end)).deletedRecords.some((one) => one.id === gone.id));
    await source.holds('Account', { [made.id]: { Name: 'changed' }, [gone.id]: null });
    return 'one each';
  },
  retrieve: async () => {
    const wanted = await source.truth("SELECT Id, Name, Industry, Ext_Id__c FROM Account WHERE Ext_Id__c LIKE 'ACC-0000%'");
    const fields = ['Id', 'Name', 'Industry', 'Ext_Id__c'];
    const one = flat(await accounts.retrieve(wanted.at(-1).Id));
    assert.deepEqual(pick(one, fields), wanted.at(-1));
    const many = await accounts.retrieve(wanted.map((row) => row.Id));
    return `one, and ${same(wanted, many.map((record) => pick(flat(record), fields)))}`;
  },

  // ---- writing
  create: async () => {
    const values = { Name: 'Ünïcode & Söhne «1»', Industry: 'Banking', AnnualRevenue: 1250000, NumberOfEmployees: 12, Ext_Id__c: 'JS-1' };
    const made = await accounts.create(values);
    assert.deepEqual(made, { id: made.id, success: true, errors: [] });
    await source.holds('Account', { [made.id]: values });
    return made.id;
  },
  'create-many': async () => {
    const records = people('JSM');
    return writes(records, 'Ext_Id__c', allSaved(await contacts.create(records, { allowRecursive: true })));
  },
  update: async () => {
    const made = await accounts.create({ Name: 'before', Phone: '1' });
    await accounts.update({ Id: made.id, Name: 'after', Phone: null });
    await source.holds('Account', { [made.id]: { Name: 'after', Phone: null } });
    return 'two fields, one of them cleared';
  },
  'update-many': async () => {
    const records = await changes('JSM');
    return writes(records, 'Id', allSaved(await contacts.update(records, { allowRecursive: true })));
  },
  upsert: async () => {
    const first = await accounts.upsert({ Ext_Id__c: 'JS-U', Name: 'inserted' }, 'Ext_Id__c');
    const second = await accounts.upsert({ Ext_Id__c: 'JS-U', Name: 'updated' }, 'Ext_Id__c');
    assert.deepEqual([first.created, second.created, first.id], [true, false, second.id]);
    await source.holds('Account', { 'JS-U': { Name: 'updated' } }, 'Ext_Id__c');
    return 'created, then updated';
  },
  'upsert-many': async () => {
    const records = halfNew('JSM');
    const results = await contacts.upsert(records, 'Ext_Id__c', { allowRecursive: true });
    assert.equal(results.filter((one) => one.created).length, ROWS / 2);
    return writes(records, 'Ext_Id__c', allSaved(results));
  },
  'all-or-none': async () => {
    const records = [{ LastName: 'good', Ext_Id__c: 'JSA-1' }, { LastName: 'x'.repeat(81), Ext_Id__c: 'JSA-2' }];
    const none = await contacts.create(records, { allOrNone: true });
    assert.deepEqual(none.map((one) => one.errors[0].errorCode ?? one.errors[0].statusCode), ['ALL_OR_NONE_OPERATION_ROLLED_BACK', 'STRING_TOO_LONG']);
    assert.equal(await source.count("Contact WHERE Ext_Id__c LIKE 'JSA-%'"), 0);
    const some = await contacts.create(records);
    assert.deepEqual(some.map((one) => one.success), [true, false]);
    await source.holds('Contact', { 'JSA-1': { LastName: 'good' }, 'JSA-2': null }, 'Ext_Id__c');
    return 'none of two, then one of two';
  },
  delete: async () => {
    const made = await accounts.create([{ Name: 'delete 0' }, { Name: 'delete 1' }]);
    const result = await accounts.destroy(made[0].id);
    assert.deepEqual(result, { id: made[0].id, success: true, errors: [] });
    await source.holds('Account', { [made[0].id]: null, [made[1].id]: { Name: 'delete 1' } });
    return 'one of two';
  },
  'delete-many': () => deletes('JSM', async (made) => allSaved(await contacts.destroy(made, { allowRecursive: true }), made.length)),
  composite: async () => {
    const at = `/services/data/v${VERSION}/sobjects`;
    const answer = await client.requestPost(`/services/data/v${VERSION}/composite`, {
      allOrNone: true,
      compositeRequest: [
        { method: 'POST', url: `${at}/Account`, referenceId: 'parent', body: { Name: 'composite parent' } },
        { method: 'POST', url: `${at}/Contact`, referenceId: 'child', body: { LastName: 'composite child', AccountId: '@{parent.id}' } },
      ],
    });
    const [parent, child] = answer.compositeResponse.map((one) => one.body.id);
    assert.deepEqual(answer.compositeResponse.map((one) => one.httpStatusCode), [201, 201]);
    await source.holds('Contact', { [child]: { LastName: 'composite child', AccountId: parent } });
    return 'a child of its parent in one call';
  },
  errors: async () => {
    const code = async (call) => (await refused(call)).errorCode;
    const seen = [
      [await code(() => client.query('SELECT FROM Account')), 'MALFORMED_QUERY'],
      [await code(() => client.query('SELECT Nope FROM Account')), 'INVALID_FIELD'],
      [await code(() => client.query('SELECT Id FROM Nope')), 'INVALID_TYPE'],
      [await code(() => contacts.create({ FirstName: 'x' })), 'REQUIRED_FIELD_MISSING'],
      [await code(() => accounts.create({ Name: 'x'.repeat(256) })), 'STRING_TOO_LONG'],
      [await code(() => accounts.create({ Name: 'x', Ext_Id__c: 'ACC-000001' })), 'DUPLICATE_VALUE'],
      [await code(() => accounts.retrieve('001Wy00000ZZZZZIAE')), 'NOT_FOUND'],
      [await code(() => client.describe('Nope')), 'NOT_FOUND'],
      [await code(() => client.request('/services/data/v60.0/nope')), 'NOT_FOUND'],
    ];
    assert.deepEqual(seen.map(([has]) => has), seen.map(([, wanted]) => wanted));
    return `${seen.length} codes`;
  },

  // ---- Bulk API 2.0
  'bulk2-insert': async () => {
    const records = people('J2');
    return writes(records, 'Ext_Id__c', allLoaded(await bulk2('insert', records)));
  },
  'bulk2-update': async () => {
    const records = await changes('J2');
    return writes(records, 'Id', allLoaded(await bulk2('update', records)));
  },
  'bulk2-upsert': async () => {
    const records = halfNew('J2');
    const results = await bulk2('upsert', records, { externalIdFieldName: 'Ext_Id__c' });
    assert.equal(results.successfulResults.filter((one) => one.sf__Created === 'true').length, ROWS / 2);
    return writes(records, 'Ext_Id__c', allLoaded(results));
  },
  'bulk2-failed-rows': async () => {
    const results = await bulk2('insert', [{ LastName: 'good', Ext_Id__c: 'J2F-1' }, { LastName: 'x'.repeat(81), Ext_Id__c: 'J2F-2' }]);
    assert.deepEqual(results.successfulResults.map((one) => one.Ext_Id__c), ['J2F-1']);
    assert.match(results.failedResults[0].sf__Error, /^STRING_TOO_LONG:/);
    await source.holds('Contact', { 'J2F-1': { LastName: 'good' }, 'J2F-2': null }, 'Ext_Id__c');
    return results.failedResults[0].sf__Error.slice(0, 40);
  },
  'bulk2-query': async () => {
    const wanted = await source.truth(OPPORTUNITIES);
    const stream = await client.bulk2.query(OPPORTUNITIES, { pollInterval: POLL.interval, pollTimeout: POLL.timeout });
    return same(wanted, fromCsv(await stream.toArray(), wanted));
  },
  'bulk2-delete': () => deletes('J2', async (made) => allLoaded(await bulk2('delete', made.map((Id) => ({ Id }))), made.length)),

  // ---- Bulk API 1.0
  'bulk1-insert': async () => {
    const records = people('J1');
    return writes(records, 'Ext_Id__c', allSaved(await bulk1('insert', records)));
  },
  'bulk1-update': async () => {
    const records = await changes('J1');
    return writes(records, 'Id', allSaved(await bulk1('update', records)));
  },
  'bulk1-upsert': async () => {
    const records = halfNew('J1');
    return writes(records, 'Ext_Id__c', allSaved(await bulk1('upsert', records, { extIdField: 'Ext_Id__c' })));
  },
  'bulk1-failed-rows': async () => {
    const results = await bulk1('insert', [{ LastName: 'good', Ext_Id__c: 'J1F-1' }, { LastName: 'x'.repeat(81), Ext_Id__c: 'J1F-2' }]);
    assert.deepEqual(results.map((one) => one.success), [true, false]);
    assert.match(results[1].errors[0], /^STRING_TOO_LONG:/);
    await source.holds('Contact', { 'J1F-1': { LastName: 'good' }, 'J1F-2': null }, 'Ext_Id__c');
    return 'one of two, in the order of the input';
  },
  'bulk1-query': async () => {
    const wanted = await source.truth(OPPORTUNITIES);
    client.bulk.pollInterval = POLL.interval;
    const stream = await client.bulk.query(OPPORTUNITIES);
    return same(wanted, fromCsv(await stream.toArray(), wanted));
  },
  'bulk1-delete': () => deletes('J1', async (made) => allSaved(await bulk1('delete', made.map((Id) => ({ Id }))), made.length)),
});
