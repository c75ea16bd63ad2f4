//! Fields the server derives, and the rules that belong to one object only.

use crate::schema::Object;
use crate::store::db::{Db, Life};
use crate::store::id::Id;
use crate::store::row::{Draft, Row};
use crate::store::rules::WriteContext;
use crate::store::value::RowError;

/// Stage, default probability, closed, won, forecast category and its display name.
pub const STAGES: [(&str, &str, bool, bool, &str, &str); 10] = [
    ("Prospecting", "10", false, false, "Pipeline", "Pipeline"),
    ("Qualification", "10", false, false, "Pipeline", "Pipeline"),
    ("Needs Analysis", "20", false, false, "Pipeline", "Pipeline"),
    ("Value Proposition", "50", false, false, "Pipeline", "Pipeline"),
    ("Id. Decision Makers", "60", false, false, "Pipeline", "Pipeline"),
    ("Perception Analysis", "70", false, false, "Pipeline", "Pipeline"),
    ("Proposal/Price Quote", "75", false, false, "Pipeline", "Pipeline"),
    ("Negotiation/Review", "90", false, false, "Pipeline", "Pipeline"),
    ("Closed Won", "100", true, true, "Closed", "Closed"),
    ("Closed Lost", "0", true, false, "Omitted", "Omitted"),
];

const HIERARCHY_DEPTH_MAX: usize = 500;

struct Cells<'a> {
    meta: &'a Object,
    draft: &'a mut Draft,
    given: &'a [bool],
}

impl Cells<'_> {
    fn index(&self, name: &str) -> usize {
        self.meta.field(name).expect("a built-in field")
    }
    fn text(&self, name: &str) -> Option<String> {
        self.meta
            .field(name)
            .and_then(|f| self.draft.get(f))
            .map(|v| String::from_utf8_lossy(v).into_owned())
    }
    fn number(&self, name: &str) -> Option<f64> {
        self.text(name).and_then(|t| t.parse().ok())
    }
    fn set(&mut self, name: &str, value: &str) {
        if let Some(field) = self.meta.field(name) {
            self.draft.set(field, value.as_bytes());
        }
    }
    fn flag(&mut self, name: &str, value: bool) {
        self.set(name, if value { "true" } else { "" });
    }
    fn given(&self, name: &str) -> bool {
        self.given[self.index(name)]
    }
}

/// A number as the org stores decimals.
pub fn money(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// Fills derived cells and applies the object's own rules before the row is stored.
pub fn before_write(
    db: &Db,
    object: usize,
    meta: &Object,
    draft: &mut Draft,
    given: &[bool],
    insert: bool,
    context: &WriteContext,
) -> Result<(), RowError> {
    let mut cells = Cells { meta, draft, given };
    match meta.name.as_str() {
        "Lead" if !insert && cells.text("IsConverted").is_some() => {
            return Err(RowError::new(
                "CANNOT_UPDATE_CONVERTED_LEAD",
                "cannot reference converted lead",
                &[],
            ));
        }
        "Contact" | "Lead" | "User" => person(&mut cells, insert),
        "Account" | "Campaign" => hierarchy(db, object, &cells, insert)?,
        "Opportunity" => opportunity(&mut cells, insert),
        "Case" => {
            hierarchy(db, object, &cells, insert)?;
            case(db, &mut cells, context);
        }
        "Task" => task(db, &mut cells)?,
        "Event" => event(&mut cells),
        "PricebookEntry" => price(db, &mut cells, insert)?,
        "OpportunityLineItem" => line_item(db, &mut cells, insert)?,
        "Project__c" | "Milestone__c" if cells.text("Name").is_none() => {
            let id = db.tables[object].next_id().text();
            cells.set("Name", &id);
        }
        _ => {}
    }
    Ok(())
}

fn person(cells: &mut Cells<'_>, insert: bool) {
    let name = match (cells.text("FirstName"), cells.text("LastName")) {
        (Some(first), Some(last)) => format!("{first} {last}"),
        (None, Some(last)) => last,
        (first, None) => first.unwrap_or_default(),
    };
    cells.set("Name", &name);
    if cells.meta.name == "User" && insert {
        cells.set("UserType", "Standard");
        if cells.text("CommunityNickname").is_none() {
            let nick: String = cells.text("Username").unwrap_or_default();
            cells.set("CommunityNickname", nick.split('@').next().unwrap_or("user"));
        }
    }
}

/// An event's start has two names; the one that was given counts.
fn event(cells: &mut Cells<'_>) {
    let given = |name: &str| cells.meta.field(name).is_some_and(|f| cells.given[f]);
    let (from, to) = if given("ActivityDateTime") && !given("StartDateTime") {
        ("ActivityDateTime", "StartDateTime")
    } else {
        ("StartDateTime", "ActivityDateTime")
    };
    if let Some(start) = cells.text(from) {
        cells.set(to, &start);
    }
}

fn hierarchy(db: &Db, object: usize, cells: &Cells<'_>, insert: bool) -> Result<(), RowError> {
    let Some(field) = cells.meta.field("ParentId") else {
        return Ok(());
    };
    if insert || !cells.given[field] {
        return Ok(());
    }
    let own = cells.draft.get(0).map(<[u8]>::to_vec);
    let mut next = cells.draft.get(field).map(<[u8]>::to_vec);
    for _ in 0..HIERARCHY_DEPTH_MAX {
        let Some(parent) = next else { return Ok(()) };
        if Some(&parent) == own.as_ref() {
            break;
        }
        next = db
            .locate_text(&parent)
            .and_then(|(_, i)| db.tables[object].row(i).get(field).map(<[u8]>::to_vec));
    }
    Err(RowError::new(
        "CIRCULAR_DEPENDENCY",
        "attempt to create a circular hierarchy",
        &["ParentId"],
    ))
}

fn opportunity(cells: &mut Cells<'_>, insert: bool) {
    let stage = cells.text("StageName").unwrap_or_default();
    let known = STAGES.iter().find(|s| s.0 == stage);
    if let Some((_, probability, closed, won, category, display)) = known {
        cells.flag("IsClosed", *closed);
        cells.flag("IsWon", *won);
        cells.set("ForecastCategory", category);
        if !cells.given("ForecastCategoryName") {
            cells.set("ForecastCategoryName", display);
        }
        let moved = insert || cells.given("StageName");
        if moved && !cells.given("Probability") {
            cells.set("Probability", &format!("{probability}.0"));
        }
    }
    if let (Some(amount), Some(chance)) = (cells.number("Amount"), cells.number("Probability")) {
        cells.set("ExpectedRevenue", &money(amount * chance / 100.0));
    }
    if let Some(date) = cells.text("CloseDate")
        && let (Some(year), Some(Ok(month))) = (date.get(..4), date.get(5..7).map(str::parse::<u32>))
    {
        let quarter = month.saturating_sub(1) / 3 + 1;
        cells.set("FiscalYear", year);
        cells.set("FiscalQuarter", &quarter.to_string());
        cells.set("Fiscal", &format!("{year} {quarter}"));
    }
}

fn case(db: &Db, cells: &mut Cells<'_>, context: &WriteContext) {
    let closed = cells.text("Status").is_some_and(|s| s.starts_with("Closed"));
    cells.flag("IsClosed", closed);
    if closed && cells.text("ClosedDate").is_none() {
        let field = cells.index("ClosedDate");
        cells.draft.set(field, &context.now);
    } else if !closed {
        cells.set("ClosedDate", "");
    }
    let contact = cells.text("ContactId").and_then(|id| db.locate_text(id.as_bytes()));
    for (own, theirs) in [
        ("ContactEmail", "Email"),
        ("ContactPhone", "Phone"),
        ("ContactMobile", "MobilePhone"),
        ("ContactFax", "Fax"),
    ] {
        let value = contact.and_then(|(object, index)| {
            let field = db.schema.objects[object].field(theirs)?;
            db.tables[object].row(index).get(field)
        });
        let text = value.map(String::from_utf8_lossy).unwrap_or_default();
        cells.set(own, &text);
    }
}

fn task(db: &Db, cells: &mut Cells<'_>) -> Result<(), RowError> {
    let who = cells.text("WhoId");
    let what = cells.text("WhatId");
    let lead = who.as_deref().is_some_and(|w| w.starts_with("00Q"));
    if lead && what.is_some() {
        return Err(RowError::new(
            "FIELD_INTEGRITY_EXCEPTION",
            "Related To ID: a lead can't be related to another record",
            &["WhatId"],
        ));
    }
    let closed = cells.text("Status").as_deref() == Some("Completed");
    cells.flag("IsClosed", closed);
    let high = cells.text("Priority").as_deref() == Some("High");
    cells.flag("IsHighPriority", high);
    let account = |id: &str| -> Option<String> {
        if id.starts_with("001") {
            return Some(id.to_owned());
        }
        let (object, index) = db.locate_text(id.as_bytes())?;
        let field = db.schema.objects[object].field("AccountId")?;
        let value = db.tables[object].row(index).get(field)?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let derived = what
        .as_deref()
        .and_then(account)
        .or_else(|| who.as_deref().filter(|_| !lead).and_then(account));
    cells.set("AccountId", derived.as_deref().unwrap_or_default());
    Ok(())
}

fn cell_of(db: &Db, id: &str, field: &str) -> Option<String> {
    let (object, index) = db.locate_text(id.as_bytes())?;
    let field = db.schema.objects[object].field(field)?;
    let value = db.tables[object].row(index).get(field)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn price(db: &Db, cells: &mut Cells<'_>, insert: bool) -> Result<(), RowError> {
    let book = cells.text("Pricebook2Id").unwrap_or_default();
    let product = cells.text("Product2Id").unwrap_or_default();
    let currency = cells.text("CurrencyIsoCode");
    if insert {
        let table = db.table("PricebookEntry");
        let meta = cells.meta;
        let at = |name: &str| meta.field(name).expect("a built-in field");
        let (book_field, product_field) = (at("Pricebook2Id"), at("Product2Id"));
        let mut standard = None;
        for index in table.by_key(product_field, product.as_bytes()).unwrap_or_default() {
            let row = table.row(index);
            let same_currency = row.get(at("CurrencyIsoCode")).map(String::from_utf8_lossy) == currency.as_deref().map(Into::into);
            let text = row.get(book_field).map(String::from_utf8_lossy).unwrap_or_default();
            if text == book && same_currency {
                return Err(RowError::new(
                    "DUPLICATE_VALUE",
                    "This price definition already exists in this price book",
                    &["Pricebook2Id", "Product2Id"],
                ));
            }
            if same_currency && cell_of(db, &text, "IsStandard").is_some() {
                standard = Some(index);
            }
        }
        let is_standard = cell_of(db, &book, "IsStandard").is_some();
        if !is_standard {
            let Some(standard) = standard else {
                return Err(RowError::new(
                    "STANDARD_PRICE_NOT_DEFINED",
                    "No standard price defined for this product",
                    &[],
                ));
            };
            if cells.text("UseStandardPrice").is_some() {
                let unit = table.row(standard).get(at("UnitPrice"));
                let unit = unit.map(String::from_utf8_lossy).unwrap_or_default();
                cells.set("UnitPrice", &unit);
            }
        }
    }
    let name = cell_of(db, &product, "Name").unwrap_or_default();
    cells.set("Name", &name.chars().take(255).collect::<String>());
    let code = cell_of(db, &product, "ProductCode").unwrap_or_default();
    cells.set("ProductCode", &code);
    Ok(())
}

fn line_item(db: &Db, cells: &mut Cells<'_>, insert: bool) -> Result<(), RowError> {
    let entry = cells.text("PricebookEntryId").ok_or_else(|| {
        RowError::new(
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [PricebookEntryId]",
            &["PricebookEntryId"],
        )
    })?;
    let opportunity = cells.text("OpportunityId").unwrap_or_default();
    let book = cell_of(db, &opportunity, "Pricebook2Id");
    if insert && book.is_some() && book != cell_of(db, &entry, "Pricebook2Id") {
        return Err(RowError::new(
            "FIELD_INTEGRITY_EXCEPTION",
            "pricebook entry is in a different pricebook than the one assigned to the opportunity",
            &["PricebookEntryId"],
        ));
    }
    let quantity = cells.number("Quantity").unwrap_or(0.0);
    let both = cells.given("UnitPrice") && cells.given("TotalPrice");
    if both && cells.text("UnitPrice").is_some() && cells.text("TotalPrice").is_some() {
        return Err(RowError::new(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "cannot specify both UnitPrice and TotalPrice",
            &["TotalPrice", "UnitPrice"],
        ));
    }
    if cells.given("TotalPrice")
        && let Some(total) = cells.number("TotalPrice")
    {
        let unit = if quantity == 0.0 { 0.0 } else { total / quantity };
        cells.set("UnitPrice", &money(unit));
    } else {
        let unit = cells
            .number("UnitPrice")
            .or_else(|| cell_of(db, &entry, "UnitPrice").and_then(|t| t.parse().ok()))
            .unwrap_or(0.0);
        cells.set("UnitPrice", &money(unit));
        cells.set("TotalPrice", &money(unit * quantity));
    }
    for (own, theirs) in [
        ("Product2Id", "Product2Id"),
        ("ProductCode", "ProductCode"),
        ("ListPrice", "UnitPrice"),
    ] {
        let value = cell_of(db, &entry, theirs).unwrap_or_default();
        cells.set(own, &value);
    }
    let deal = cell_of(db, &opportunity, "Name").unwrap_or_default();
    let product = cell_of(db, &entry, "Name").unwrap_or_default();
    let name = format!("{deal} {product}");
    cells.set("Name", &name.chars().take(376).collect::<String>());
    Ok(())
}

/// Effects on other records once a row is stored.
pub fn after_write(db: &mut Db, context: &WriteContext, object: usize, index: u32, before: Option<&Row>) {
    let meta = &db.schema.objects[object];
    if meta.name != "OpportunityLineItem" {
        return;
    }
    let total = |row: &Row| -> f64 { line_total(meta, row) };
    let change = total(db.tables[object].row(index)) - before.map_or(0.0, total);
    if before.is_none() || change != 0.0 {
        roll_up(db, context, object, index, change);
    }
}

/// Effects on other records of a row about to be deleted.
pub fn before_delete(db: &mut Db, context: &WriteContext, object: usize, index: u32) {
    let meta = &db.schema.objects[object];
    if meta.name == "OpportunityLineItem" && db.tables[object].life(index) == Life::Live {
        let change = -line_total(meta, db.tables[object].row(index));
        roll_up(db, context, object, index, change);
    }
}

fn line_total(meta: &Object, row: &Row) -> f64 {
    let text = meta.field("TotalPrice").and_then(|f| row.get(f)).unwrap_or_default();
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0.0)
}

/// Adds what a line changed to its opportunity's amount.
fn roll_up(db: &mut Db, context: &WriteContext, object: usize, index: u32, change: f64) {
    let schema = std::sync::Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let text = |db: &Db, name: &str| {
        meta.field(name)
            .and_then(|f| db.tables[object].row(index).get(f))
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .unwrap_or_default()
    };
    let Ok(opportunity) = Id::parse(text(db, "OpportunityId").as_bytes()) else {
        return;
    };
    let book = cell_of(db, &text(db, "PricebookEntryId"), "Pricebook2Id");
    let live = |(parent, at): &(usize, u32)| db.tables[*parent].life(*at) == Life::Live;
    let Some((parent, at)) = db.locate(&opportunity).filter(live) else {
        return;
    };
    let meta = &schema.objects[parent];
    let mut draft = Draft::default();
    draft.load(db.tables[parent].row(at), meta.fields.len());
    let given = vec![false; meta.fields.len()];
    let mut cells = Cells {
        meta,
        draft: &mut draft,
        given: &given,
    };
    let before = match cells.text("HasOpportunityLineItem") {
        Some(_) => cells.number("Amount").unwrap_or(0.0),
        None => 0.0,
    };
    cells.flag("HasOpportunityLineItem", true);
    cells.set("Amount", &money(before + change));
    if cells.text("Pricebook2Id").is_none() {
        cells.set("Pricebook2Id", book.as_deref().unwrap_or_default());
    }
    if let Some(chance) = cells.number("Probability") {
        cells.set("ExpectedRevenue", &money((before + change) * chance / 100.0));
    }
    let stamp = cells.index("SystemModstamp");
    cells.draft.set(stamp, &context.now);
    db.tables[parent].replace(at, draft.finish());
}
