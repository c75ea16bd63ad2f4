//! Seeded business data at any scale: a connected org whose people, addresses and texts look
//! real, with hierarchies, cycles and polymorphic links. The same seed gives the same org.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::schema::Schema;
use crate::seed::words::{self, Person};
use crate::store::db::Db;
use crate::store::derive::{STAGES, money};
use crate::store::id::Id;
use crate::store::row::Draft;
use crate::store::value::stamp;

/// A small fast generator whose stream never changes between releases.
pub struct SplitMix(u64);

impl SplitMix {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit` (0 for 0).
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(limit)) >> 64) as u64
    }

    /// True in `percent` of 100 draws.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the list.
    pub fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// The span records were created in.
const SPAN_SECS: u64 = 3 * 365 * 86_400;

struct Maker<'a> {
    db: &'a mut Db,
    schema: Arc<Schema>,
    object: usize,
    fields: HashMap<&'static str, usize, ahash::RandomState>,
    draft: Draft,
    text: Vec<u8>,
    random: SplitMix,
    users: Vec<Id>,
    now: i64,
}

impl Maker<'_> {
    fn begin(&mut self, object: &'static str, rows: usize) {
        self.object = self.schema.object(object).expect("a built-in object");
        self.fields.clear();
        self.db.tables[self.object].reserve(rows);
    }

    fn field(&mut self, name: &'static str) -> usize {
        let meta = &self.schema.objects[self.object];
        *self
            .fields
            .entry(name)
            .or_insert_with(|| meta.field(name).unwrap_or_else(|| panic!("no field {}.{name}", meta.name)))
    }

    fn set(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        let field = self.field(name);
        self.draft.set(field, value.as_ref());
    }

    fn write(&mut self, name: &'static str, args: std::fmt::Arguments<'_>) {
        let field = self.field(name);
        self.text.clear();
        let _ = self.text.write_fmt(args);
        self.draft.set(field, &self.text);
    }

    fn link(&mut self, name: &'static str, id: Id) {
        self.set(name, id.long());
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        if value {
            self.set(name, "true");
        }
    }

    fn row(&mut self) {
        let fields = self.schema.objects[self.object].fields.len();
        self.draft.reset(fields);
    }

    fn user(&mut self) -> Id {
        let at = self.random.below(self.users.len() as u64) as usize;
        self.users[at]
    }

    fn finish(&mut self, owned: bool) -> Id {
        let created = self.now - 86_400 - self.random.below(SPAN_SECS) as i64;
        let changed = created + self.random.below((self.now - created - 3600).max(1) as u64) as i64;
        let at = |secs: i64| stamp(DateTime::<Utc>::from_timestamp(secs, 0).unwrap_or_default());
        self.set("CreatedDate", at(created));
        self.set("LastModifiedDate", at(changed));
        self.set("SystemModstamp", at(changed + self.random.0 as i64 % 2));
        let (creator, editor) = (self.user(), self.user());
        self.link("CreatedById", creator);
        self.link("LastModifiedById", editor);
        if owned {
            let owner = self.user();
            self.link("OwnerId", owner);
        }
        let table = &mut self.db.tables[self.object];
        let id = table.next_id();
        self.draft.set(0, &id.long());
        table.push(id, self.draft.finish());
        id
    }

    fn date(&mut self, years_back: u64, years_span: u64) -> String {
        let secs = self.now - (years_back * 365 * 86_400) as i64 + self.random.below(years_span * 365 * 86_400) as i64;
        let text = stamp(DateTime::<Utc>::from_timestamp(secs, 0).unwrap_or_default());
        String::from_utf8_lossy(&text[..10]).into_owned()
    }
}

/// How many of each object a scale means.
struct Sizes {
    accounts: usize,
    contacts: usize,
    opportunities: usize,
    roles: usize,
    lines: usize,
    cases: usize,
    leads: usize,
    tasks: usize,
    projects: usize,
    milestones: usize,
    products: usize,
}

impl Sizes {
    fn new(scale: u64) -> Self {
        let part = |per_mille: u64| ((scale * per_mille).div_ceil(1000)).max(2) as usize;
        Self {
            accounts: part(100),
            contacts: part(250),
            opportunities: part(130),
            roles: part(90),
            lines: part(100),
            cases: part(120),
            leads: part(80),
            tasks: part(110),
            projects: part(10),
            milestones: part(20),
            products: (scale / 500).clamp(4, 800) as usize,
        }
    }
}

/// Fills the org with at least `scale` business records.
pub fn fill(db: &mut Db, scale: u64, seed: u64, user: Id) {
    let schema = Arc::clone(&db.schema);
    let text_ids = |db: &Db, object: &str, field: &str, wanted: &str| -> Vec<Id> {
        let meta = &db.schema.objects[db.schema.object(object).expect("built in")];
        let field = meta.field(field).expect("built in");
        let table = db.table(object);
        table
            .scan(false)
            .filter(|i| table.row(*i).get(field) == Some(wanted.as_bytes()))
            .map(|i| table.id(i))
            .collect()
    };
    let users = text_ids(db, "User", "IsActive", "true");
    let kinds = |db: &Db, object: &str| text_ids(db, "RecordType", "SobjectType", object);
    let (account_kinds, deal_kinds, case_kinds, lead_kinds) =
        (kinds(db, "Account"), kinds(db, "Opportunity"), kinds(db, "Case"), kinds(db, "Lead"));
    let queues = text_ids(db, "Group", "Type", "Queue");
    let books: Vec<Id> = {
        let table = db.table("Pricebook2");
        table.scan(false).map(|i| table.id(i)).collect()
    };
    let mut m = Maker {
        db,
        schema,
        object: 0,
        fields: HashMap::default(),
        draft: Draft::default(),
        text: Vec::new(),
        random: SplitMix::new(seed),
        users: if users.is_empty() { vec![user] } else { users },
        // A fixed "today" keeps two runs with one seed equal.
        now: 1_763_596_800,
    };
    let sizes = Sizes::new(scale);
    let (entries, prices) = products(&mut m, sizes.products, &books);
    let accounts = accounts(&mut m, sizes.accounts, &account_kinds);
    let contacts = contacts(&mut m, sizes.contacts, &accounts);
    primary_contacts(&mut m, &accounts, &contacts);
    let deals = opportunities(&mut m, &sizes, &accounts, &deal_kinds, &books, &entries, &prices);
    roles(&mut m, sizes.roles, &deals, &contacts);
    let cases = cases(&mut m, sizes.cases, &accounts, &contacts, &case_kinds, &queues);
    let leads = leads(&mut m, sizes.leads, &lead_kinds, &queues);
    tasks(&mut m, sizes.tasks, &accounts, &contacts, &deals, &cases, &leads);
    projects(&mut m, sizes.projects, sizes.milestones, &accounts);
}

fn products(m: &mut Maker<'_>, count: usize, books: &[Id]) -> (Vec<Vec<Id>>, Vec<f64>) {
    m.begin("Product2", count);
    let mut ids = Vec::new();
    let mut names = Vec::new();
    for i in 0..count {
        m.row();
        let name = format!("{} {} {}", m.random.pick(&words::ADJECTIVES), m.random.pick(&words::GOODS), i + 1);
        m.set("Name", &name);
        m.write("Ext_Id__c", format_args!("PRD-{i:06}"));
        m.write("ProductCode", format_args!("SKU-{i:05}"));
        let family = m.random.pick(&["Hardware", "Software", "Services", "Support"]);
        m.set("Family", family);
        m.flag("IsActive", true);
        ids.push(m.finish(false));
        names.push(name);
    }
    m.begin("PricebookEntry", count * books.len());
    let prices: Vec<f64> = (0..count).map(|_| (m.random.below(500_000) + 1000) as f64 / 100.0).collect();
    let mut entries = Vec::new();
    // The standard book comes first: no custom price may precede its standard price.
    for (b, book) in books.iter().enumerate() {
        let mut list = Vec::new();
        for (i, product) in ids.iter().enumerate() {
            m.row();
            m.link("Pricebook2Id", *book);
            m.link("Product2Id", *product);
            let price = if b == 0 { prices[i] } else { (prices[i] * 90.0).round() / 100.0 };
            m.set("UnitPrice", money(price));
            m.set("CurrencyIsoCode", "USD");
            m.set("Name", &names[i]);
            m.write("ProductCode", format_args!("SKU-{i:05}"));
            m.flag("IsActive", true);
            list.push(m.finish(false));
        }
        entries.push(list);
    }
    (entries, prices)
}

fn accounts(m: &mut Maker<'_>, count: usize, kinds: &[Id]) -> Vec<Id> {
    m.begin("Account", count);
    let mut ids: Vec<Id> = Vec::with_capacity(count);
    for i in 0..count {
        m.row();
        let name = words::company(&mut m.random, i);
        m.set("Name", &name);
        m.write("Ext_Id__c", format_args!("ACC-{i:07}"));
        let kind = kinds[i % kinds.len().max(1)];
        m.link("RecordTypeId", kind);
        if i > 0 && m.random.percent(18) {
            let parent = ids[m.random.below(ids.len() as u64) as usize];
            m.link("ParentId", parent);
        }
        let industry = m.random.pick(&[
            "Banking",
            "Biotechnology",
            "Healthcare",
            "Insurance",
            "Manufacturing",
            "Retail",
            "Technology",
        ]);
        m.set("Industry", industry);
        let kind = m
            .random
            .pick(&["Prospect", "Customer - Direct", "Customer - Channel", "Technology Partner"]);
        m.set("Type", kind);
        let country = words::country(&mut m.random);
        let phone = words::phone(&mut m.random, country);
        m.set("Phone", &phone);
        m.write("Website", format_args!("https://www.acme-{i}.example"));
        let revenue = m.random.below(900_000_000);
        m.write("AnnualRevenue", format_args!("{revenue}.0"));
        let staff = m.random.below(250_000) + 1;
        m.write("NumberOfEmployees", format_args!("{staff}"));
        let place = words::place(&mut m.random, country);
        m.set("BillingStreet", &place.street);
        m.set("BillingCity", place.city);
        m.set("BillingState", place.state);
        m.set("BillingPostalCode", &place.postal_code);
        m.set("BillingCountry", place.country);
        if m.random.percent(40) {
            let text = words::note(&mut m.random, None);
            m.set("Description", text);
        }
        m.set("CurrencyIsoCode", if country == 0 { "USD" } else { "EUR" });
        if m.random.percent(30) {
            let tags = m.random.pick(&["VIP", "EU;Partner", "Churn Risk;VIP;EU", "Reference"]);
            m.set("Tags__c", tags);
        }
        if m.random.percent(25) {
            let date = m.date(0, 2);
            m.set("SLA_Expiration__c", date);
        }
        ids.push(m.finish(true));
    }
    ids
}

fn contacts(m: &mut Maker<'_>, count: usize, accounts: &[Id]) -> Vec<(Id, Id)> {
    m.begin("Contact", count);
    let mut ids: Vec<(Id, Id)> = Vec::with_capacity(count);
    let mut pending: Option<(Id, u32)> = None;
    for i in 0..count {
        m.row();
        let person = Person::new(&mut m.random, i);
        let account = accounts[m.random.below(accounts.len() as u64) as usize];
        m.link("AccountId", account);
        m.set("FirstName", person.first);
        m.set("LastName", &person.last);
        m.write("Name", format_args!("{} {}", person.first, person.last));
        m.write("Ext_Id__c", format_args!("CON-{i:07}"));
        if m.random.percent(60) {
            let salutation = m.random.pick(&["Mr.", "Ms.", "Mrs.", "Dr.", "Prof."]);
            m.set("Salutation", salutation);
        }
        if !m.random.percent(6) {
            m.set("Email", &person.email);
        }
        m.set("Phone", &person.phone);
        if m.random.percent(50) {
            let mobile = words::phone(&mut m.random, person.country);
            m.set("MobilePhone", mobile);
        }
        let title = m.random.pick(&words::TITLES);
        m.set("Title", title);
        let department = m.random.pick(&["Sales", "Finance", "Clinical", "IT", "Operations"]);
        m.set("Department", department);
        if m.random.percent(80) {
            let born = m.date(85, 65);
            m.set("Birthdate", born);
        }
        let place = words::place(&mut m.random, person.country);
        m.set("MailingStreet", &place.street);
        m.set("MailingCity", place.city);
        m.set("MailingState", place.state);
        m.set("MailingPostalCode", &place.postal_code);
        m.set("MailingCountry", place.country);
        let source = m.random.pick(&["Web", "Phone Inquiry", "Partner Referral", "Other"]);
        m.set("LeadSource", source);
        let opted_out = m.random.percent(10);
        m.flag("HasOptedOutOfEmail", opted_out);
        if m.random.percent(20) {
            let (mrn, ssn) = (m.random.below(100_000_000), m.random.below(10_000));
            m.write("MRN__c", format_args!("MRN{mrn:08}"));
            m.write("SSN_Last4__c", format_args!("{ssn:04}"));
        }
        if m.random.percent(35) {
            let text = words::note(&mut m.random, Some(&person));
            m.set("Description", text);
        }
        if m.random.percent(15) {
            let text = words::note(&mut m.random, Some(&person));
            m.set("Notes__c", text);
        }
        if let Some((other, _)) = pending {
            m.link("ReportsToId", other);
        } else if !ids.is_empty() && m.random.percent(30) {
            let boss = ids[m.random.below(ids.len() as u64) as usize].0;
            m.link("ReportsToId", boss);
        }
        let id = m.finish(true);
        let index = m.db.tables[m.object].len() - 1;
        // Every 500th pair reports to each other.
        if let Some((_, other)) = pending.take() {
            patch(m, other, "ReportsToId", id);
        } else if i % 500 == 7 {
            pending = Some((id, index));
        }
        ids.push((id, account));
    }
    ids
}

/// Sets a reference on a stored row of the current object.
fn patch(m: &mut Maker<'_>, index: u32, name: &'static str, id: Id) {
    let field = m.field(name);
    let fields = m.schema.objects[m.object].fields.len();
    let mut draft = Draft::default();
    draft.load(m.db.tables[m.object].row(index), fields);
    draft.set(field, &id.long());
    m.db.tables[m.object].replace(index, draft.finish());
}

fn primary_contacts(m: &mut Maker<'_>, accounts: &[Id], contacts: &[(Id, Id)]) {
    m.begin("Account", 0);
    let by_id: HashMap<Id, usize> = accounts.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut done = vec![false; accounts.len()];
    for (contact, account) in contacts {
        let at = by_id[account];
        if done[at] {
            continue;
        }
        done[at] = true;
        if m.random.percent(50)
            && let Some(index) = m.db.tables[m.object].find(account)
        {
            patch(m, index, "Primary_Contact__c", *contact);
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "one call, all of them parents of the rows")]
fn opportunities(
    m: &mut Maker<'_>,
    sizes: &Sizes,
    accounts: &[Id],
    kinds: &[Id],
    books: &[Id],
    entries: &[Vec<Id>],
    prices: &[f64],
) -> Vec<Id> {
    let count = sizes.opportunities;
    // Lines are spread over the first deals, in order, so totals are known beforehand.
    let mut lines: Vec<Vec<(usize, u64)>> = vec![Vec::new(); count];
    for i in 0..sizes.lines {
        let deal = if i < count / 2 {
            i
        } else {
            m.random.below((count / 2).max(1) as u64) as usize
        };
        let product = m.random.below(prices.len() as u64) as usize;
        lines[deal].push((product, m.random.below(40) + 1));
    }
    m.begin("Opportunity", count);
    let mut ids = Vec::with_capacity(count);
    let mut names = Vec::new();
    let mut chosen = Vec::with_capacity(count);
    for (i, list) in lines.iter().enumerate() {
        m.row();
        let account = accounts[m.random.below(accounts.len() as u64) as usize];
        m.link("AccountId", account);
        let name = format!(
            "{} {} {}",
            m.random.pick(&words::ADJECTIVES),
            m.random.pick(&words::GOODS),
            m.random
                .pick(&["rollout", "renewal", "pilot – 1. Phase", "expansion, \"EMEA\"", "upgrade"])
        );
        m.set("Name", &name);
        m.write("Ext_Id__c", format_args!("OPP-{i:07}"));
        m.link("RecordTypeId", kinds[i % kinds.len().max(1)]);
        let (stage, probability, closed, won, category, display) = STAGES[m.random.below(10) as usize];
        m.set("StageName", stage);
        m.write("Probability", format_args!("{probability}.0"));
        m.flag("IsClosed", closed);
        m.flag("IsWon", won);
        m.set("ForecastCategory", category);
        m.set("ForecastCategoryName", display);
        let date = m.date(2, 3);
        m.write("FiscalYear", format_args!("{}", &date[..4]));
        let quarter = (date[5..7].parse::<u32>().unwrap_or(1) - 1) / 3 + 1;
        m.write("FiscalQuarter", format_args!("{quarter}"));
        m.write("Fiscal", format_args!("{} {quarter}", &date[..4]));
        m.set("CloseDate", date);
        let book = m.random.below(books.len() as u64) as usize;
        let amount = if list.is_empty() {
            (m.random.below(50_000_000) as f64) / 100.0
        } else {
            m.flag("HasOpportunityLineItem", true);
            list.iter().map(|(p, q)| unit(prices[*p], book) * *q as f64).sum()
        };
        if !list.is_empty() || m.random.percent(40) {
            m.link("Pricebook2Id", books[book]);
        }
        m.set("Amount", money(amount));
        let chance: f64 = probability.parse().unwrap_or(0.0);
        m.set("ExpectedRevenue", money(amount * chance / 100.0));
        m.set("CurrencyIsoCode", "USD");
        if m.random.percent(40) {
            let text = words::note(&mut m.random, None);
            m.set("Description", text);
        }
        ids.push(m.finish(true));
        if !list.is_empty() {
            names.push((i, name));
        }
        chosen.push(book);
    }
    m.begin("OpportunityLineItem", sizes.lines);
    for (deal, name) in names {
        for (product, quantity) in &lines[deal] {
            let book = chosen[deal];
            let price = unit(prices[*product], book);
            m.row();
            m.link("OpportunityId", ids[deal]);
            m.link("PricebookEntryId", entries[book][*product]);
            m.write("Quantity", format_args!("{quantity}.0"));
            m.set("UnitPrice", money(price));
            m.set("ListPrice", money(price));
            m.set("TotalPrice", money(price * *quantity as f64));
            m.write("ProductCode", format_args!("SKU-{product:05}"));
            m.write("Name", format_args!("{name} SKU-{product:05}"));
            m.finish(false);
        }
    }
    ids
}

fn unit(price: f64, book: usize) -> f64 {
    if book == 0 { price } else { (price * 90.0).round() / 100.0 }
}

fn roles(m: &mut Maker<'_>, count: usize, deals: &[Id], contacts: &[(Id, Id)]) {
    m.begin("OpportunityContactRole", count);
    for i in 0..count {
        m.row();
        m.link("OpportunityId", deals[i % deals.len()]);
        let contact = contacts[m.random.below(contacts.len() as u64) as usize].0;
        m.link("ContactId", contact);
        let role = m
            .random
            .pick(&["Business User", "Decision Maker", "Evaluator", "Executive Sponsor"]);
        m.set("Role", role);
        m.flag("IsPrimary", i < deals.len());
        m.finish(false);
    }
}

fn cases(m: &mut Maker<'_>, count: usize, accounts: &[Id], contacts: &[(Id, Id)], kinds: &[Id], queues: &[Id]) -> Vec<Id> {
    m.begin("Case", count);
    let mut ids: Vec<Id> = Vec::with_capacity(count);
    for i in 0..count {
        m.row();
        let (contact, account) = contacts[m.random.below(contacts.len() as u64) as usize];
        if m.random.percent(85) {
            m.link("ContactId", contact);
            m.link("AccountId", account);
        } else {
            let account = accounts[m.random.below(accounts.len() as u64) as usize];
            m.link("AccountId", account);
        }
        if i > 0 && m.random.percent(8) {
            let parent = ids[m.random.below(ids.len() as u64) as usize];
            m.link("ParentId", parent);
        }
        m.link("RecordTypeId", kinds[i % kinds.len().max(1)]);
        m.write("Ext_Id__c", format_args!("CASE-{i:07}"));
        m.write("CaseNumber", format_args!("{:08}", 1001 + i));
        let status = m.random.pick(&["New", "Working", "Escalated", "Closed"]);
        m.set("Status", status);
        m.flag("IsClosed", status == "Closed");
        let priority = m.random.pick(&["High", "Medium", "Low"]);
        m.set("Priority", priority);
        let origin = m.random.pick(&["Phone", "Email", "Web"]);
        m.set("Origin", origin);
        let person = Person::new(&mut m.random, i + 90_000_000);
        let topic = m.random.pick(&words::GOODS);
        m.write("Subject", format_args!("{topic} fails after update #{i}"));
        if m.random.percent(60) {
            let text = words::note(&mut m.random, Some(&person));
            m.set("Description", text);
        }
        if m.random.percent(20) {
            m.set("SuppliedEmail", &person.email);
            m.write("SuppliedName", format_args!("{} {}", person.first, person.last));
        }
        let queued = !queues.is_empty() && m.random.percent(25);
        let owner = if queued { queues[i % queues.len()] } else { m.user() };
        m.link("OwnerId", owner);
        ids.push(m.finish(false));
    }
    m.db.tables[m.object].auto_serial = 1000 + count as u64;
    ids
}

fn leads(m: &mut Maker<'_>, count: usize, kinds: &[Id], queues: &[Id]) -> Vec<Id> {
    m.begin("Lead", count);
    let mut ids = Vec::with_capacity(count);
    for i in 0..count {
        m.row();
        let person = Person::new(&mut m.random, i + 50_000_000);
        m.set("FirstName", person.first);
        m.set("LastName", &person.last);
        m.write("Name", format_args!("{} {}", person.first, person.last));
        m.write("Ext_Id__c", format_args!("LEAD-{i:07}"));
        let company = words::company(&mut m.random, i);
        m.set("Company", company);
        m.set("Email", &person.email);
        m.set("Phone", &person.phone);
        let title = m.random.pick(&words::TITLES);
        m.set("Title", title);
        let status = m
            .random
            .pick(&["Open - Not Contacted", "Working - Contacted", "Closed - Not Converted"]);
        m.set("Status", status);
        let place = words::place(&mut m.random, person.country);
        m.set("Street", &place.street);
        m.set("City", place.city);
        m.set("State", place.state);
        m.set("PostalCode", &place.postal_code);
        m.set("Country", place.country);
        m.link("RecordTypeId", kinds[i % kinds.len().max(1)]);
        let queued = !queues.is_empty() && m.random.percent(30);
        let owner = if queued { queues[i % queues.len()] } else { m.user() };
        m.link("OwnerId", owner);
        ids.push(m.finish(false));
    }
    ids
}

fn tasks(m: &mut Maker<'_>, count: usize, accounts: &[Id], contacts: &[(Id, Id)], deals: &[Id], cases: &[Id], leads: &[Id]) {
    m.begin("Task", count);
    for _ in 0..count {
        m.row();
        // A lead as Who forbids a What.
        if m.random.percent(20) {
            let lead = leads[m.random.below(leads.len() as u64) as usize];
            m.link("WhoId", lead);
        } else {
            let (contact, account) = contacts[m.random.below(contacts.len() as u64) as usize];
            m.link("WhoId", contact);
            let pool = match m.random.below(4) {
                0 => accounts,
                1 => deals,
                2 => cases,
                _ => &[],
            };
            m.link("AccountId", account);
            if !pool.is_empty() {
                let what = pool[m.random.below(pool.len() as u64) as usize];
                m.link("WhatId", what);
                if what.prefix() == *b"001" {
                    m.link("AccountId", what);
                }
            }
        }
        let subject = m
            .random
            .pick(&["Call", "Send Quote", "Follow up: pricing", "Demo; Q&A", "=SUM(A1:A9) sheet"]);
        m.set("Subject", subject);
        let status = m.random.pick(&["Not Started", "In Progress", "Completed", "Deferred"]);
        m.set("Status", status);
        m.flag("IsClosed", status == "Completed");
        let priority = m.random.pick(&["High", "Normal", "Low"]);
        m.set("Priority", priority);
        m.flag("IsHighPriority", priority == "High");
        let date = m.date(2, 3);
        m.set("ActivityDate", date);
        m.set("TaskSubtype", "Task");
        if m.random.percent(30) {
            let text = words::note(&mut m.random, None);
            m.set("Description", text);
        }
        m.finish(true);
    }
}

fn projects(m: &mut Maker<'_>, projects: usize, milestones: usize, accounts: &[Id]) {
    m.begin("Project__c", projects);
    let mut ids = Vec::with_capacity(projects);
    for i in 0..projects {
        m.row();
        m.write("Name", format_args!("Project {i:06}"));
        m.write("Ext_Id__c", format_args!("PRJ-{i:07}"));
        let account = accounts[m.random.below(accounts.len() as u64) as usize];
        m.link("Account__c", account);
        let budget = m.random.below(9_000_000) as f64 / 100.0;
        m.set("Budget__c", money(budget));
        let person = Person::new(&mut m.random, i + 70_000_000);
        m.set("Contact_Email__c", &person.email);
        let text = words::note(&mut m.random, Some(&person));
        m.set("Notes__c", text);
        let status = m.random.pick(&["Planned", "Active", "On Hold", "Done"]);
        m.set("Status__c", status);
        ids.push(m.finish(true));
    }
    m.begin("Milestone__c", milestones);
    let mut current: Vec<Option<Id>> = vec![None; projects];
    for i in 0..milestones {
        m.row();
        m.write("Name", format_args!("Milestone {i:06}"));
        m.write("Ext_Id__c", format_args!("MST-{i:07}"));
        m.link("Project__c", ids[i % projects]);
        let due = m.date(1, 2);
        m.set("Due__c", due);
        let phone = words::phone(&mut m.random, i % 3);
        m.set("Owner_Phone__c", phone);
        m.flag("Done__c", i % 4 == 0);
        current[i % projects] = Some(m.finish(true));
    }
    m.begin("Project__c", 0);
    for (project, milestone) in ids.iter().zip(current) {
        if let Some(milestone) = milestone
            && let Some(index) = m.db.tables[m.object].find(project)
        {
            patch(m, index, "Current_Milestone__c", milestone);
        }
    }
}
