//! What every org has before any business data: its own row, users, record types, queues,
//! price books. Also the direct row loader the other sources use.

pub mod generate;
pub mod rows;
pub mod words;

use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Draft;

/// Production or a sandbox of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    Production,
    Sandbox,
}

impl Flavour {
    /// The instance part of ids this org hands out.
    pub fn pod(self) -> [u8; 2] {
        match self {
            Self::Production => *b"Wy",
            Self::Sandbox => *b"8H",
        }
    }

    /// The suffix of this org's usernames.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Production => "",
            Self::Sandbox => ".uat",
        }
    }
}

/// Stores rows as given, without any rule; for seeds, files and generated data.
pub struct Loader<'a> {
    pub db: &'a mut Db,
    pub draft: Draft,
    pub user: [u8; 18],
}

/// When the org was set up.
pub const ORG_BORN: &[u8; 24] = b"2021-03-01T08:00:00.000Z";

impl<'a> Loader<'a> {
    pub fn new(db: &'a mut Db, user: [u8; 18]) -> Self {
        Self {
            db,
            draft: Draft::default(),
            user,
        }
    }

    /// Inserts a row from named cells, with audit fields where none are given.
    pub fn insert(&mut self, object: &str, cells: &[(&str, &str)]) -> Id {
        let schema = std::sync::Arc::clone(&self.db.schema);
        let object = schema.object(object).expect("a built-in object");
        let meta = &schema.objects[object];
        self.draft.reset(meta.fields.len());
        for name in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
            if let Some(field) = meta.field(name) {
                self.draft.set(field, ORG_BORN);
            }
        }
        for name in ["CreatedById", "LastModifiedById", "OwnerId"] {
            if let Some(field) = meta.field(name) {
                self.draft.set(field, &self.user);
            }
        }
        for (name, value) in cells {
            let field = meta.field(name).unwrap_or_else(|| panic!("seed names a missing field {name}"));
            self.draft.set(field, value.as_bytes());
        }
        let table = &mut self.db.tables[object];
        let id = table.next_id();
        self.draft.set(0, &id.long());
        table.push(id, self.draft.finish());
        id
    }
}

const PEOPLE: [(&str, &str, &str); 24] = [
    ("Integration", "User", "Operations"),
    ("Chad", "Hamilton", "Sales"),
    ("Mira", "Okafor", "Sales"),
    ("Jürgen", "Weiß", "Sales"),
    ("Aoife", "Byrne", "Support"),
    ("Tomás", "Ferreira", "Support"),
    ("Priya", "Raman", "Marketing"),
    ("Lena", "Vogel", "Sales"),
    ("Oliver", "Hughes", "Sales"),
    ("Sofia", "Lindqvist", "Support"),
    ("Noah", "Becker", "Sales"),
    ("Grace", "Adeyemi", "Finance"),
    ("Hugo", "Marchand", "Sales"),
    ("Emma", "Castellanos", "Support"),
    ("Liam", "O'Connor", "Sales"),
    ("Yuki", "Tanaka", "Sales"),
    ("Zoë", "van Dijk", "Marketing"),
    ("Marcus", "Bell", "Sales"),
    ("Ines", "Moreau", "Support"),
    ("Ravi", "Patel", "Sales"),
    ("Clara", "Neumann", "Sales"),
    ("Ben", "Whitfield", "Support"),
    ("Dana", "Kowalski", "Sales"),
    ("Former", "Employee", "Sales"),
];

/// Record types every org of ours has: object, developer name, label.
pub const RECORD_TYPES: [(&str, &str, &str); 10] = [
    ("Account", "Business_Account", "Business Account"),
    ("Account", "Partner_Account", "Partner Account"),
    ("Opportunity", "New_Business", "New Business"),
    ("Opportunity", "Renewal", "Renewal"),
    ("Case", "Support", "Support"),
    ("Case", "Complaint", "Complaint"),
    ("Lead", "Inbound", "Inbound"),
    ("Lead", "Outbound", "Outbound"),
    ("Campaign", "Email", "Email"),
    ("Task", "Sales_Call", "Sales Call"),
];

/// Queue developer names and labels.
pub const QUEUES: [(&str, &str); 3] = [
    ("Tier_1_Support", "Tier 1 Support"),
    ("Lead_Triage", "Lead Triage"),
    ("Returns", "Returns"),
];

/// Seeds whatever setup objects are still empty. `domain` ends the usernames.
pub fn setup(db: &mut Db, flavour: Flavour, number: Option<u64>, domain: &str) -> (Id, Id) {
    let usual = match flavour {
        Flavour::Production => 70_001,
        Flavour::Sandbox => 31_337,
    };
    let org = Id::new(*b"00D", flavour.pod(), number.unwrap_or(usual));
    // A sandbox numbers its users, record types and books from elsewhere than production:
    // with the pod, no id of one org is one of the other.
    let first_user = db.table("User").next_id();
    let mut loader = Loader::new(db, first_user.long());
    if loader.db.table("Profile").is_empty() {
        for name in ["System Administrator", "Standard User", "Read Only", "Integration User"] {
            loader.insert("Profile", &[("Name", name), ("UserType", "Standard")]);
        }
    }
    if loader.db.table("User").is_empty() {
        users(&mut loader, flavour, domain);
    }
    let table = loader.db.table("User");
    let active = loader.db.schema.objects[loader.db.schema.object("User").expect("built in")]
        .field("IsActive")
        .expect("built in");
    let user = table
        .scan(false)
        .find(|i| table.row(*i).get(active) == Some(b"true"))
        .map_or(first_user, |i| table.id(i));
    loader.user = user.long();
    if loader.db.table("RecordType").is_empty() {
        for (object, developer, label) in RECORD_TYPES {
            loader.insert(
                "RecordType",
                &[
                    ("SobjectType", object),
                    ("DeveloperName", developer),
                    ("Name", label),
                    ("IsActive", "true"),
                ],
            );
        }
    }
    if loader.db.table("Group").is_empty() {
        for (developer, label) in QUEUES {
            loader.insert("Group", &[("DeveloperName", developer), ("Name", label), ("Type", "Queue")]);
        }
    }
    if loader.db.table("Pricebook2").is_empty() {
        loader.insert(
            "Pricebook2",
            &[("Name", "Standard Price Book"), ("IsStandard", "true"), ("IsActive", "true")],
        );
        loader.insert("Pricebook2", &[("Name", "Partner"), ("IsActive", "true")]);
    }
    organization(&mut loader, org, flavour);
    (org, user)
}

/// The record an assignment rule is; made once, then only its activity changes.
pub fn assignment_rule(db: &mut Db, object: usize, name: &str, active: bool) {
    let schema = std::sync::Arc::clone(&db.schema);
    let Some(rules) = schema.object("AssignmentRule") else { return };
    let meta = &schema.objects[rules];
    let of = schema.objects[object].name.as_str();
    let cell = |row: &crate::store::row::Row, field: &str| {
        let value = meta.field(field).and_then(|f| row.get(f));
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let table = &db.tables[rules];
    let known = table
        .scan(false)
        .find(|i| cell(table.row(*i), "Name") == name && cell(table.row(*i), "SobjectType") == of);
    let flag = if active { "true" } else { "" };
    match known {
        Some(index) => {
            let mut draft = Draft::default();
            draft.load(table.row(index), meta.fields.len());
            if let Some(field) = meta.field("Active") {
                draft.set(field, flag.as_bytes());
            }
            db.tables[rules].replace(index, draft.finish());
        }
        None => {
            let user = db.table("User").id(0).long();
            Loader::new(db, user).insert("AssignmentRule", &[("Name", name), ("SobjectType", of), ("Active", flag)]);
        }
    }
}

const CURRENCIES: [(&str, &str); 2] = [
    ("CurrencyType", include_str!("../../data/rows/synthetic-b2b/CurrencyType.csv")),
    (
        "DatedConversionRate",
        include_str!("../../data/rows/synthetic-b2b/DatedConversionRate.csv"),
    ),
];

/// Seeds the currencies and their rates where no row file gave any.
pub fn currencies(db: &mut Db, user: Id) {
    let schema = std::sync::Arc::clone(&db.schema);
    for (name, text) in CURRENCIES {
        if !db.table(name).is_empty() {
            continue;
        }
        let meta = &schema.objects[schema.object(name).expect("built in")];
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let names = reader.headers().cloned().unwrap_or_default();
        for record in reader.records().map_while(Result::ok) {
            let mut cells: Vec<(&str, String)> = Vec::new();
            for (column, raw) in names.iter().zip(record.iter()) {
                let spec = &meta.fields[meta.field(column).expect("built in")];
                let mut stored = Vec::new();
                if !raw.is_empty() && crate::store::value::normalise(spec, raw.as_bytes(), &mut stored).is_ok() {
                    cells.push((column, String::from_utf8_lossy(&stored).into_owned()));
                }
            }
            let cells: Vec<(&str, &str)> = cells.iter().map(|(n, v)| (*n, v.as_str())).collect();
            Loader::new(db, user.long()).insert(name, &cells);
        }
    }
}

/// Seeds the record types of persons where no row file gave any. Their developer name is
/// that of Contact's own one too, as in every org with person accounts.
pub fn person_types(db: &mut Db, user: Id) {
    let types = &db.schema.objects[db.schema.object("RecordType").expect("built in")];
    let table = db.table("RecordType");
    let person = types.field("IsPersonType").expect("built in");
    if table.scan(false).any(|i| table.row(i).get(person) == Some(b"true")) {
        return;
    }
    for (object, label) in [("Account", "Person Account"), ("Contact", "PersonAccount")] {
        let cells = [
            ("SobjectType", object),
            ("DeveloperName", "PersonAccount"),
            ("Name", label),
            ("IsActive", "true"),
            ("IsPersonType", "true"),
        ];
        Loader::new(db, user.long()).insert("RecordType", &cells);
    }
}

fn users(loader: &mut Loader<'_>, flavour: Flavour, domain: &str) {
    let profile = loader.db.table("Profile").id(0).text();
    for (i, (first, last, department)) in PEOPLE.iter().enumerate() {
        let plain = |t: &str| -> String { t.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase() };
        let local = format!("{}.{}", plain(first), plain(last));
        let username = format!("{local}@{domain}{}", flavour.suffix());
        let invalid = if flavour == Flavour::Sandbox { ".invalid" } else { "" };
        let email = format!("{local}@{domain}{invalid}");
        let alias: String = local.replace('.', "").chars().take(8).collect();
        let federation = format!("{local}.{i}");
        loader.insert(
            "User",
            &[
                ("Username", &username),
                ("FirstName", first),
                ("LastName", last),
                ("Name", &format!("{first} {last}")),
                ("Alias", &alias),
                ("CommunityNickname", &local),
                ("Email", &email),
                ("Department", department),
                ("IsActive", if *first == "Former" { "" } else { "true" }),
                ("UserType", "Standard"),
                ("ProfileId", &profile),
                ("TimeZoneSidKey", "Europe/Berlin"),
                ("LocaleSidKey", "en_US"),
                ("EmailEncodingKey", "UTF-8"),
                ("LanguageLocaleKey", "en_US"),
                ("FederationIdentifier", &federation),
            ],
        );
    }
}

fn organization(loader: &mut Loader<'_>, org: Id, flavour: Flavour) {
    let sandbox = flavour == Flavour::Sandbox;
    let schema = std::sync::Arc::clone(&loader.db.schema);
    let object = schema.object("Organization").expect("built in");
    let meta = &schema.objects[object];
    loader.draft.reset(meta.fields.len());
    for (name, value) in [
        ("Name", "Northwind Health Group"),
        ("OrganizationType", if sandbox { "Unlimited Edition" } else { "Enterprise Edition" }),
        ("InstanceName", if sandbox { "CS420" } else { "NA224" }),
        ("IsSandbox", if sandbox { "true" } else { "" }),
        ("Country", "US"),
        ("DefaultLocaleSidKey", "en_US"),
        ("LanguageLocaleKey", "en_US"),
        ("TimeZoneSidKey", "America/Los_Angeles"),
        ("PrimaryContact", "Integration User"),
        ("ReceivesInfoEmails", "true"),
        ("ReceivesAdminInfoEmails", "true"),
        ("PreferencesConsentManagementEnabled", "true"),
        ("PreferencesLightningLoginEnabled", "true"),
        ("FiscalYearStartMonth", "1"),
        ("DefaultAccountAccess", "Edit"),
        ("DefaultContactAccess", "ControlledByParent"),
        ("DefaultOpportunityAccess", "Edit"),
        ("DefaultLeadAccess", "ReadEditTransfer"),
        ("DefaultCaseAccess", "ReadEditTransfer"),
        ("DefaultCalendarAccess", "HideDetailsInsert"),
        ("DefaultPricebookAccess", "ReadSelect"),
        ("DefaultCampaignAccess", "All"),
        ("UiSkin", "Theme3"),
        ("SignupCountryIsoCode", "US"),
        ("NumKnowledgeService", "2"),
        ("WebToCaseDefaultOrigin", "Web"),
        ("MonthlyPageViewsUsed", "0"),
        ("MonthlyPageViewsEntitlement", "0"),
    ] {
        loader.draft.set(meta.field(name).expect("built in"), value.as_bytes());
    }
    for name in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
        loader.draft.set(meta.field(name).expect("built in"), ORG_BORN);
    }
    for name in ["CreatedById", "LastModifiedById"] {
        loader.draft.set(meta.field(name).expect("built in"), &loader.user);
    }
    loader.draft.set(0, &org.long());
    loader.db.tables[object].push(org, loader.draft.finish());
}
