//! Answers checked against plain iteration over the rows the org was loaded from.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Datelike, Duration, Timelike, Utc};
use serde_json::Value;
use support::{get, org, send, soql};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg, data_dir};

type Record = HashMap<String, String>;

/// The shipped rows, as their files say, without deleted ones.
struct Rows {
    lists: HashMap<&'static str, Vec<Record>>,
    places: HashMap<(&'static str, String), usize>,
}

impl Rows {
    fn read() -> Self {
        let objects = [
            "Account",
            "Contact",
            "Opportunity",
            "Case",
            "Task",
            "Event",
            "Lead",
            "Campaign",
            "CampaignMember",
            "OpportunityLineItem",
            "User",
        ];
        let lists: HashMap<_, _> = objects.into_iter().map(|o| (o, Self::file(o))).collect();
        let ids = |(o, list): (&&'static str, &Vec<Record>)| {
            let keyed = list.iter().enumerate().map(|(i, r)| ((*o, r["Id"].clone()), i));
            keyed.collect::<Vec<_>>()
        };
        let places = lists.iter().flat_map(ids).collect();
        Self { lists, places }
    }

    fn file(object: &str) -> Vec<Record> {
        let path = data_dir().join(format!("rows/synthetic-b2b/{object}.csv"));
        let mut reader = csv::Reader::from_path(path).unwrap();
        let rows = reader.deserialize::<Record>().map(Result::unwrap);
        rows.filter(|r| r.get("IsDeleted").map(String::as_str) != Some("true")).collect()
    }

    fn of(&self, object: &str) -> &[Record] {
        &self.lists[object]
    }

    fn find(&self, object: &'static str, id: &str) -> Option<&Record> {
        let place = self.places.get(&(object, id.to_owned()))?;
        self.lists[object].get(*place)
    }

    fn count(&self, object: &str, keep: impl Fn(&Record) -> bool) -> u64 {
        self.of(object).iter().filter(|r| keep(r)).count() as u64
    }
}

fn loaded() -> RunningOrg {
    org(OrgConfig {
        rows: Some(data_dir().join("rows/synthetic-b2b")),
        ..OrgConfig::default()
    })
}

fn total(org: &RunningOrg, query: &str) -> u64 {
    let reply = soql(org, query);
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    reply.json()["totalSize"].as_u64().unwrap()
}

fn records(org: &RunningOrg, query: &str) -> Vec<Value> {
    let mut reply = soql(org, query);
    let mut out = Vec::new();
    loop {
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let page = reply.json();
        out.extend(page["records"].as_array().unwrap().iter().cloned());
        match page["nextRecordsUrl"].as_str() {
            Some(next) => reply = get(org, next),
            None => return out,
        }
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// Cents, so that sums are exact.
fn cents(text: &str) -> i64 {
    (number(text) * 100.0).round() as i64
}

#[test]
fn filters_select_what_iteration_selects() {
    let (org, rows) = (loaded(), Rows::read());
    type Keep = fn(&Record) -> bool;
    let cases: [(&str, &str, Keep); 24] = [
        ("Account", "Industry = 'transportation'", |r| r["Industry"] == "Transportation"),
        ("Account", "Industry != 'Transportation'", |r| r["Industry"] != "Transportation"),
        ("Account", "AnnualRevenue > 1000000.5", |r| {
            number(&r["AnnualRevenue"]) > 1_000_000.5
        }),
        ("Account", "NOT (AnnualRevenue > 1000000.5)", |r| {
            r["AnnualRevenue"].is_empty() || number(&r["AnnualRevenue"]) <= 1_000_000.5
        }),
        ("Account", "AnnualRevenue = null AND ParentId != null", |r| {
            r["AnnualRevenue"].is_empty() && !r["ParentId"].is_empty()
        }),
        ("Account", "Name LIKE '%an%'", |r| r["Name"].to_lowercase().contains("an")),
        ("Account", "Name LIKE 'S_i%'", |r| {
            let name: Vec<char> = r["Name"].to_lowercase().chars().collect();
            name.first() == Some(&'s') && name.get(2) == Some(&'i')
        }),
        ("Account", "Industry IN ('Banking', 'ENERGY', null)", |r| {
            ["", "Banking", "Energy"].contains(&r["Industry"].as_str())
        }),
        ("Account", "Industry NOT IN ('Banking', 'Energy')", |r| {
            !["Banking", "Energy"].contains(&r["Industry"].as_str())
        }),
        ("Account", "Tags__c INCLUDES ('VIP;EU', 'Partner')", |r| {
            let tags: Vec<&str> = r["Tags__c"].split(';').collect();
            (tags.contains(&"VIP") && tags.contains(&"EU")) || tags.contains(&"Partner")
        }),
        ("Account", "Tags__c EXCLUDES ('VIP')", |r| {
            !r["Tags__c"].split(';').any(|t| t == "VIP")
        }),
        ("Account", "Tags__c = 'EU;VIP'", |r| {
            let tags: BTreeSet<&str> = r["Tags__c"].split(';').collect();
            tags == BTreeSet::from(["EU", "VIP"])
        }),
        ("Account", "SLA_Expiration__c >= 2026-06-01", |r| {
            r["SLA_Expiration__c"].as_str() >= "2026-06-01"
        }),
        ("Account", "CreatedDate < 2023-06-01T02:00:00+02:00", |r| {
            r["CreatedDate"].as_str() < "2023-06-01T00:00:00.000Z"
        }),
        (
            "Account",
            "(Industry = 'Banking' OR Industry = 'Energy') AND NumberOfEmployees < 5000",
            |r| ["Banking", "Energy"].contains(&r["Industry"].as_str()) && number(&r["NumberOfEmployees"]) < 5000.0,
        ),
        ("Opportunity", "IsWon = true", |r| r["IsWon"] == "true"),
        ("Opportunity", "IsClosed = false AND Amount >= 50000", |r| {
            r["IsClosed"] != "true" && number(&r["Amount"]) >= 50_000.0
        }),
        (
            "Opportunity",
            "CALENDAR_YEAR(CloseDate) = 2024 AND CALENDAR_QUARTER(CloseDate) IN (1, 4)",
            |r| r["CloseDate"].starts_with("2024") && ["01", "02", "03", "10", "11", "12"].contains(&&r["CloseDate"][5..7]),
        ),
        ("Opportunity", "DAY_IN_WEEK(CloseDate) = 1", |r| {
            chrono::NaiveDate::parse_from_str(&r["CloseDate"], "%Y-%m-%d").is_ok_and(|d| d.weekday() == chrono::Weekday::Sun)
        }),
        ("Case", "HOUR_IN_DAY(CreatedDate) < 6", |r| {
            r["CreatedDate"][11..13].parse::<u32>().unwrap() < 6
        }),
        ("Case", "DAY_ONLY(CreatedDate) > 2024-03-01", |r| {
            &r["CreatedDate"][..10] > "2024-03-01"
        }),
        ("Task", "WhoId = null AND ActivityDate < 2023-01-01", |r| {
            r["WhoId"].is_empty() && !r["ActivityDate"].is_empty() && r["ActivityDate"].as_str() < "2023-01-01"
        }),
        ("Task", "ActivityDate != 2022-09-04", |r| r["ActivityDate"] != "2022-09-04"),
        ("Lead", "Company > 'm' AND Email LIKE '%@example.%'", |r| {
            r["Company"].to_lowercase().as_str() > "m" && r["Email"].to_lowercase().contains("@example.")
        }),
    ];
    let mut hits = 0;
    for (object, filter, keep) in cases {
        let wanted = rows.count(object, keep);
        assert_eq!(total(&org, &format!("SELECT Id FROM {object} WHERE {filter}")), wanted, "{filter}");
        assert_eq!(
            total(&org, &format!("SELECT COUNT() FROM {object} WHERE {filter}")),
            wanted,
            "{filter}"
        );
        hits += u64::from(wanted > 0 && wanted < rows.of(object).len() as u64);
    }
    assert!(hits >= 18, "only {hits} of the filters tell rows apart");
}

#[test]
fn zoned_functions_and_literals_follow_the_user() {
    let (org, rows) = (loaded(), Rows::read());
    let zone: chrono_tz::Tz = rows.find("User", &org.user_id).unwrap()["TimeZoneSidKey"].parse().unwrap();
    assert_ne!(zone, chrono_tz::UTC);
    let local = |r: &Record| {
        let at: DateTime<Utc> = r["CreatedDate"].parse().unwrap();
        at.with_timezone(&zone)
    };
    let hour = |r: &Record| local(r).hour() == 3;
    let wanted = rows.count("Case", hour);
    assert!(wanted > 0);
    let query = "SELECT COUNT() FROM Case WHERE HOUR_IN_DAY(convertTimezone(CreatedDate)) = 3";
    assert_eq!(total(&org, query), wanted);
    let today = Utc::now().with_timezone(&zone).date_naive();
    let in_days = |r: &Record, from: i64, to: i64| {
        let day = local(r).date_naive();
        day >= today + Duration::days(from) && day < today + Duration::days(to)
    };
    for (literal, from, to) in [("LAST_N_DAYS:900", -900, 1), ("N_DAYS_AGO:1000", -1000, -999)] {
        let wanted = rows.count("Case", |r| in_days(r, from, to));
        let query = format!("SELECT Id FROM Case WHERE CreatedDate = {literal}");
        assert_eq!(total(&org, &query), wanted, "{literal}");
    }
    let wanted = rows.count("Case", |r| local(r).year() == today.year() - 2);
    assert_eq!(total(&org, "SELECT Id FROM Case WHERE CreatedDate = N_YEARS_AGO:2"), wanted);
    let wanted = rows.count("Opportunity", |r| r["CloseDate"].starts_with(&(today.year() - 2).to_string()));
    assert_eq!(
        total(&org, "SELECT Id FROM Opportunity WHERE CloseDate = N_FISCAL_YEARS_AGO:2"),
        wanted
    );
}

#[test]
fn fiscal_functions_follow_the_org_s_year() {
    let (org, rows) = (loaded(), Rows::read());
    let path = format!("/__sim/records/{}", org.org_id);
    assert_eq!(
        send(&org, "PATCH", &path, serde_json::json!({"FiscalYearStartMonth": 4})).status,
        200
    );
    // A year that begins in April bears the name of the one it ends in.
    let fiscal = |r: &Record| {
        let (year, month) = (number(&r["CloseDate"][..4]) as i64, number(&r["CloseDate"][5..7]) as i64);
        (year + i64::from(month >= 4), (month + 8) % 12 / 3 + 1)
    };
    let query = "SELECT FISCAL_YEAR(CloseDate) y, FISCAL_QUARTER(CloseDate) q, COUNT(Id) n FROM Opportunity \
                 GROUP BY FISCAL_YEAR(CloseDate), FISCAL_QUARTER(CloseDate)";
    let groups = records(&org, query);
    assert!(groups.len() > 8);
    for group in &groups {
        let key = (group["y"].as_i64().unwrap(), group["q"].as_i64().unwrap());
        assert_eq!(group["n"], rows.count("Opportunity", |r| fiscal(r) == key), "{group}");
    }
}

#[test]
fn paths_lead_to_the_parent_s_cells() {
    let (org, rows) = (loaded(), Rows::read());
    let account = |r: &Record| rows.find("Account", &r["AccountId"]);
    let wanted = rows.count("Contact", |r| account(r).is_some_and(|a| a["Industry"] == "Transportation"));
    assert!(wanted > 0);
    assert_eq!(
        total(&org, "SELECT Id FROM Contact WHERE Account.Industry = 'Transportation'"),
        wanted
    );
    // No parent is as good as no value.
    let wanted = rows.count("Contact", |r| account(r).is_none_or(|a| a["ParentId"].is_empty()));
    assert_eq!(total(&org, "SELECT Id FROM Contact WHERE Account.ParentId = null"), wanted);
    let wanted = rows.count("Contact", |r| {
        let parent = account(r).and_then(|a| rows.find("Account", &a["ParentId"]));
        parent.is_some_and(|p| p["Type"] == "Prospect")
    });
    assert_eq!(
        total(
            &org,
            "SELECT COUNT() FROM Contact c, c.Account a, a.Parent p WHERE p.Type = 'Prospect'"
        ),
        wanted
    );
    let wanted = rows.count("Task", |r| rows.find("Lead", &r["WhoId"]).is_some());
    assert!(wanted > 0);
    assert_eq!(total(&org, "SELECT Id FROM Task WHERE Who.Type = 'Lead'"), wanted);
    let name = |r: &Record, o: &'static str| rows.find(o, &r["WhatId"]).map(|a| a["Name"].clone());
    for record in records(&org, "SELECT Id, What.Name, What.Type, Owner.Name, Account.Owner.Name FROM Task") {
        let row = rows.find("Task", record["Id"].as_str().unwrap()).unwrap();
        let what = ["Account", "Opportunity", "Campaign"].iter().find_map(|o| name(row, o));
        if let Some(what) = what {
            assert_eq!(record["What"]["Name"], what.as_str());
        }
        assert_eq!(record["What"].is_null(), row["WhatId"].is_empty());
        if let Some(owner) = rows.find("User", &row["OwnerId"]) {
            assert_eq!(record["Owner"]["Name"], owner["Name"].as_str());
        }
    }
}

#[test]
fn typeof_shows_each_target_its_own_fields() {
    let (org, rows) = (loaded(), Rows::read());
    let query = "SELECT Id, TYPEOF What WHEN Account THEN Industry, Owner.Name WHEN Opportunity THEN StageName ELSE Name END, \
                 TYPEOF Who WHEN Contact THEN LastName END FROM Task";
    let mut seen = BTreeSet::new();
    for record in records(&org, query) {
        let row = rows.find("Task", record["Id"].as_str().unwrap()).unwrap();
        let what = &record["What"];
        if let Some(account) = rows.find("Account", &row["WhatId"]) {
            assert_eq!(what["Industry"].as_str().unwrap_or_default(), account["Industry"]);
            assert!(what["Owner"]["Name"].is_string() && what.get("StageName").is_none());
            seen.insert("account");
        } else if let Some(deal) = rows.find("Opportunity", &row["WhatId"]) {
            assert_eq!(what["StageName"], deal["StageName"].as_str());
            assert_eq!(what["attributes"]["type"], "Opportunity");
            seen.insert("opportunity");
        } else if what.is_object() {
            assert!(what.get("Name").is_some() && what.get("Industry").is_none());
            seen.insert("other");
        }
        match rows.find("Contact", &row["WhoId"]) {
            Some(contact) => assert_eq!(record["Who"]["LastName"], contact["LastName"].as_str()),
            None => assert!(record["Who"].is_null()),
        }
    }
    assert!(seen.contains("account") && seen.contains("opportunity"), "{seen:?}");
}

#[test]
fn groups_sum_up_what_iteration_sums_up() {
    let (org, rows) = (loaded(), Rows::read());
    let mut stages: BTreeMap<&str, (u64, i64, i64, BTreeSet<&str>, u64)> = BTreeMap::new();
    for row in rows.of("Opportunity") {
        let entry = stages.entry(&row["StageName"]).or_insert((0, 0, i64::MIN, BTreeSet::new(), 0));
        entry.0 += 1;
        if !row["Amount"].is_empty() {
            entry.1 += cents(&row["Amount"]);
            entry.2 = entry.2.max(cents(&row["Amount"]));
            entry.4 += 1;
        }
        if !row["AccountId"].is_empty() {
            entry.3.insert(&row["AccountId"]);
        }
    }
    let query = "SELECT StageName, COUNT(Id) n, SUM(Amount) total, MAX(Amount), COUNT_DISTINCT(AccountId), COUNT(Amount) \
                 FROM Opportunity GROUP BY StageName";
    let groups = records(&org, query);
    assert_eq!(groups.len(), stages.len());
    let cents_of = |v: &Value| (v.as_f64().unwrap() * 100.0).round() as i64;
    for group in &groups {
        let wanted = &stages[group["StageName"].as_str().unwrap()];
        assert_eq!(group["attributes"], serde_json::json!({"type": "AggregateResult"}));
        assert_eq!(group["n"], wanted.0);
        assert_eq!(cents_of(&group["total"]), wanted.1);
        assert_eq!(cents_of(&group["expr0"]), wanted.2);
        assert_eq!(group["expr1"], wanted.3.len());
        assert_eq!(group["expr2"], wanted.4);
    }
    let wanted = stages.values().filter(|s| s.0 > 200 && s.1 > 0).count();
    let having = "SELECT StageName FROM Opportunity GROUP BY StageName HAVING COUNT(Id) > 200 AND SUM(Amount) > 0";
    assert_eq!(records(&org, having).len(), wanted);
    let sorted = records(
        &org,
        "SELECT StageName, COUNT(Id) FROM Opportunity GROUP BY StageName ORDER BY COUNT(Id) DESC LIMIT 3",
    );
    let mut counts: Vec<u64> = stages.values().map(|s| s.0).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let have: Vec<u64> = sorted.iter().map(|g| g["expr0"].as_u64().unwrap()).collect();
    assert_eq!(have, counts[..3]);
    // Without GROUP BY there is one row, even of nothing.
    let none = records(
        &org,
        "SELECT COUNT(Id), SUM(Amount), AVG(Amount) FROM Opportunity WHERE Name = 'no such deal'",
    );
    assert_eq!(
        (&none[0]["expr0"], &none[0]["expr1"], &none[0]["expr2"]),
        (&0.into(), &Value::Null, &Value::Null)
    );
    let by_year = records(
        &org,
        "SELECT CALENDAR_YEAR(CloseDate) y, COUNT(Id) n FROM Opportunity GROUP BY CALENDAR_YEAR(CloseDate) ORDER BY CALENDAR_YEAR(CloseDate)",
    );
    for group in &by_year {
        let year = group["y"].to_string();
        assert_eq!(group["n"], rows.count("Opportunity", |r| r["CloseDate"].starts_with(&year)));
    }
    let through = records(&org, "SELECT Account.Industry, COUNT(Id) FROM Contact GROUP BY Account.Industry");
    let all: u64 = through.iter().map(|g| g["expr0"].as_u64().unwrap()).sum();
    assert_eq!(all, rows.of("Contact").len() as u64);
    assert!(through.iter().any(|g| g["Industry"].is_string()));
}

#[test]
fn subtotals_are_the_sums_of_their_groups() {
    let (org, rows) = (loaded(), Rows::read());
    let count = |stage: Option<&str>, kind: Option<&str>| {
        rows.count("Opportunity", |r| {
            stage.is_none_or(|s| r["StageName"] == s) && kind.is_none_or(|k| r["Type"] == k)
        })
    };
    for (word, sets) in [("ROLLUP", 3), ("CUBE", 4)] {
        let query = format!(
            "SELECT StageName s, Type t, COUNT(Id) n, GROUPING(StageName) gs, GROUPING(Type) gt FROM Opportunity GROUP BY {word}(StageName, Type)"
        );
        let groups = records(&org, &query);
        let mut kinds = BTreeSet::new();
        for group in &groups {
            let (gs, gt) = (group["gs"].as_u64().unwrap(), group["gt"].as_u64().unwrap());
            kinds.insert((gs, gt));
            // A null that no subtotal made is an empty cell.
            let key = |name: &str, total: u64| (total == 0).then(|| group[name].as_str().unwrap_or_default());
            assert_eq!(group["n"], count(key("s", gs), key("t", gt)), "{group}");
        }
        assert_eq!(kinds.len(), sets, "{word}");
        assert_eq!(kinds.contains(&(1, 0)), word == "CUBE");
        let grand = groups.iter().find(|g| g["gs"] == 1 && g["gt"] == 1).unwrap();
        assert_eq!(grand["n"], rows.of("Opportunity").len());
    }
}

#[test]
fn joins_keep_what_the_other_object_names() {
    let (org, rows) = (loaded(), Rows::read());
    let won: BTreeSet<&str> = rows
        .of("Opportunity")
        .iter()
        .filter(|r| r["IsWon"] == "true")
        .map(|r| r["AccountId"].as_str())
        .collect();
    let with_case: BTreeSet<&str> = rows.of("Case").iter().map(|r| r["AccountId"].as_str()).collect();
    let semi = "Id IN (SELECT AccountId FROM Opportunity WHERE IsWon = true)";
    let anti = "Id NOT IN (SELECT AccountId FROM Case)";
    let wanted = rows.count("Account", |r| {
        won.contains(r["Id"].as_str()) && !with_case.contains(r["Id"].as_str())
    });
    assert_eq!(total(&org, &format!("SELECT Id FROM Account WHERE {semi} AND {anti}")), wanted);
    let wanted = rows.count("Contact", |r| won.contains(r["AccountId"].as_str()));
    assert!(wanted > 0);
    let query = "SELECT Id FROM Contact WHERE AccountId IN (SELECT AccountId FROM Opportunity WHERE IsWon = true)";
    assert_eq!(total(&org, query), wanted);
}

#[test]
fn children_belong_to_their_parents_at_every_level() {
    let (org, rows) = (loaded(), Rows::read());
    let query = "SELECT Id, (SELECT Id, Amount, (SELECT Id FROM OpportunityLineItems) FROM Opportunities ORDER BY Amount DESC NULLS LAST), \
                 (SELECT Id FROM Contacts WHERE Email != null LIMIT 3) FROM Account";
    let (mut deals, mut lines) = (0, 0);
    for account in records(&org, query) {
        let id = account["Id"].as_str().unwrap();
        let wanted = rows.count("Opportunity", |r| r["AccountId"] == id);
        let list = whole(&org, &account["Opportunities"]);
        assert_eq!(list.len() as u64, wanted);
        deals += wanted;
        let amounts: Vec<f64> = list.iter().filter_map(|d| d["Amount"].as_f64()).collect();
        assert!(amounts.is_sorted_by(|a, b| a >= b));
        for deal in &list {
            let wanted = rows.count("OpportunityLineItem", |r| deal["Id"] == r["OpportunityId"].as_str());
            assert_eq!(whole(&org, &deal["OpportunityLineItems"]).len() as u64, wanted);
            lines += wanted;
        }
        let contacts = rows.count("Contact", |r| r["AccountId"] == id && !r["Email"].is_empty());
        assert_eq!(whole(&org, &account["Contacts"]).len() as u64, contacts.min(3));
    }
    assert!(deals > 500 && lines > 500, "{deals} {lines}");
}

/// All records of a child result, however it is paged.
fn whole(org: &RunningOrg, result: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    let mut page = result.clone();
    while !page.is_null() {
        out.extend(page["records"].as_array().unwrap().iter().cloned());
        assert_eq!(page["done"] == true, page["nextRecordsUrl"].is_null());
        let total = page["totalSize"].clone();
        match page["nextRecordsUrl"].as_str() {
            Some(next) => page = get(org, next).json(),
            None => {
                assert_eq!(total, out.len());
                break;
            }
        }
    }
    out
}

#[test]
fn small_pages_lose_no_parent_and_no_child() {
    let rows = Rows::read();
    for (page_rows, ragged) in [(3, false), (50, false), (50, true)] {
        let org = org(OrgConfig {
            rows: Some(data_dir().join("rows/synthetic-b2b")),
            query_page_rows: page_rows,
            ..OrgConfig::default()
        });
        org.state.cursors.set_paging(None, Some(ragged), None);
        let filter = "WHERE Industry IN ('Banking', 'Energy', 'Transportation')";
        let query = format!("SELECT Id, (SELECT Id FROM Opportunities), (SELECT Id FROM Contacts) FROM Account {filter}");
        let first = soql(&org, &query).json();
        let shown: usize = first["records"].as_array().unwrap().iter().map(weight).sum();
        assert!(ragged || shown <= page_rows + 2, "{shown} records on a page of {page_rows}");
        let (mut cut, mut seen) = (0, BTreeSet::new());
        for account in records(&org, &query) {
            let id = account["Id"].as_str().unwrap().to_owned();
            for (relationship, object) in [("Opportunities", "Opportunity"), ("Contacts", "Contact")] {
                cut += usize::from(account[relationship]["done"] == false);
                let ids: BTreeSet<String> = whole(&org, &account[relationship])
                    .iter()
                    .map(|c| c["Id"].as_str().unwrap().to_owned())
                    .collect();
                let wanted: BTreeSet<String> = rows
                    .of(object)
                    .iter()
                    .filter(|r| r["AccountId"] == id)
                    .map(|r| r["Id"].clone())
                    .collect();
                assert_eq!(ids, wanted);
            }
            assert!(seen.insert(id));
        }
        let wanted = rows.count("Account", |r| {
            ["Banking", "Energy", "Transportation"].contains(&r["Industry"].as_str())
        });
        assert_eq!(seen.len() as u64, wanted);
        assert!(page_rows > 3 || cut > 0, "no child result was cut");
    }
}

fn weight(record: &Value) -> usize {
    let children = record.as_object().unwrap().values().filter_map(|v| v["records"].as_array());
    1 + children.map(Vec::len).sum::<usize>()
}

#[test]
fn distances_are_measured_from_the_coordinates() {
    let (org, rows) = (loaded(), Rows::read());
    let km = |r: &Record| {
        let (a, b) = (
            number(&r["BillingLatitude"]).to_radians(),
            number(&r["BillingLongitude"]).to_radians(),
        );
        let (c, d) = (40f64.to_radians(), (-100f64).to_radians());
        6371.0088 * (a.sin() * c.sin() + a.cos() * c.cos() * (b - d).cos()).acos()
    };
    let wanted = rows.count("Account", |r| !r["BillingLatitude"].is_empty() && km(r) < 5000.0);
    assert!(wanted > 0);
    let query = "SELECT Id FROM Account WHERE DISTANCE(BillingAddress, GEOLOCATION(40,-100), 'km') < 5000";
    assert_eq!(total(&org, query), wanted);
    let query = "SELECT Id, BillingLatitude, DISTANCE(BillingAddress, GEOLOCATION(40,-100), 'km') far FROM Account \
                 WHERE BillingLatitude != null ORDER BY DISTANCE(BillingAddress, GEOLOCATION(40,-100), 'km') LIMIT 20";
    let near = records(&org, query);
    let far: Vec<f64> = near.iter().map(|r| r["far"].as_f64().unwrap()).collect();
    assert!(far.is_sorted() && far.len() == 20);
    let mut all: Vec<f64> = rows.of("Account").iter().map(km).filter(|k| k.is_finite()).collect();
    all.sort_by(f64::total_cmp);
    assert!((far[19] - all[19]).abs() < 0.01, "{} {}", far[19], all[19]);
}
