//! No text makes the query language panic: neither any text, nor text that looks like SOQL.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use syncline_salesforce_simulator::soql::plan::{Surface, Viewer, bind};
use syncline_salesforce_simulator::soql::{group, parser, run, virtuals};
use syncline_salesforce_simulator::{Org, OrgConfig, RunningOrg};

static ORG: LazyLock<RunningOrg> = LazyLock::new(|| {
    Org::start(OrgConfig {
        scale: Some(200),
        ..OrgConfig::default()
    })
    .unwrap()
});

/// Longest any one text may take, parsed, planned and run over a few hundred records: far
/// above what it does take, far below what a loop that feeds on the text would.
const QUERY_SECS_MAX: u64 = 20;

/// Parses, plans and runs; errors are fine, and must say what they are.
fn answer(text: &str) -> bool {
    let started = Instant::now();
    let mut planned = false;
    match parser::parse(text) {
        Err(error) => assert!(!error.code.is_empty() && !error.message.is_empty(), "{text}"),
        Ok(statement) => {
            let db = ORG.state.db();
            let viewer = Viewer::of(&db, ORG.state.user_id, "v65.0");
            for surface in [Surface::Rest, Surface::Bulk] {
                let source = virtuals::open(&db, &statement, &viewer).ok().flatten();
                let db = source.as_deref().unwrap_or(&db);
                match bind(db, text, &statement, surface, &viewer) {
                    Err(error) => assert!(!error.code.is_empty() && !error.message.is_empty(), "{text}"),
                    Ok(plan) => {
                        planned = true;
                        let rows = run::rows(db, &plan, true);
                        if let Some(groups) = &plan.groups {
                            group::rows(db, &plan, groups, &rows);
                        }
                        for child in &plan.children {
                            run::rows_without_limit(db, &child.plan, false);
                        }
                    }
                }
            }
        }
    }
    assert!(started.elapsed() < Duration::from_secs(QUERY_SECS_MAX), "{text}");
    planned
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "SELECT",
        "FROM",
        "WHERE",
        "AND",
        "OR",
        "NOT",
        "IN",
        "LIKE",
        "ORDER",
        "BY",
        "GROUP",
        "HAVING",
        "LIMIT",
        "OFFSET",
        "TYPEOF",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "USING",
        "SCOPE",
        "WITH",
        "FOR",
        "UPDATE",
        "ROLLUP",
        "CUBE",
        "NULLS",
        "FIRST",
        "ASC",
        "DESC",
        "COUNT",
        "COUNT()",
        "FIELDS(ALL)",
        "GROUPING",
        "DISTANCE",
        "GEOLOCATION",
        "INCLUDES",
        "EXCLUDES",
        "(",
        ")",
        ",",
        "=",
        "!=",
        "<",
        ">=",
        ":",
        "'x'",
        "'",
        "\\'",
        "5",
        "-1.5",
        "USD5",
        "2024-02-30",
        "2024-01-01T00:00:00Z",
        "TODAY",
        "LAST_N_DAYS:3",
        "null",
        "true",
        "Account",
        "Contact",
        "Contacts",
        "Id",
        "Name",
        "a",
        "Owner.Name",
        "Who.Type",
        "..",
        "é",
        "\u{0}",
        "Account.Owner.Manager.Name",
    ])
    .prop_map(str::to_owned)
}

fn field() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "Id",
        "Name",
        "AnnualRevenue",
        "Industry",
        "CreatedDate",
        "SLA_Expiration__c",
        "Tags__c",
        "IsDeleted",
        "BillingAddress",
        "Description",
        "Parent.Name",
        "Owner.Manager.Name",
        "Account.Name",
        "Account.Name.x",
        "NumberOfEmployees",
        "Who.Type",
        "What.Name",
        "Nope",
        "Nope.Name",
        "CALENDAR_YEAR(CreatedDate)",
        "DAY_ONLY(convertTimezone(CreatedDate))",
        "HOUR_IN_DAY(Name)",
        "COUNT(Id)",
        "SUM(AnnualRevenue)",
        "MAX(Name)",
        "GROUPING(Industry)",
        "toLabel(Industry)",
        "FORMAT(AnnualRevenue)",
        "FORMAT(MIN(CreatedDate))",
        "convertCurrency(AnnualRevenue)",
        "DISTANCE(BillingAddress, GEOLOCATION(1.5,-2), 'km')",
        "FIELDS(STANDARD)",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "FALSE",
            "5",
            "-0.5",
            "1e400",
            "USD5000",
            "TODAY",
            "THIS_WEEK",
            "LAST_N_DAYS:30",
            "N_FISCAL_YEARS_AGO:4000000000",
            "2024-02-29",
            "2023-02-29",
            "9999-12-31",
            "2024-01-01T10:00:00+05:00",
            "2024-01-01T99:00:00Z",
            "09:30:00.000Z",
            "'001000000000001'",
            "'%'",
            "'a\\_b%'",
            "''",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9 %_;é\u{1F600}]{0,12}".prop_map(|t| format!("'{t}'")),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["=", "!=", "<>", "<", "<=", ">", ">=", "LIKE"]);
    let leaf = prop_oneof![
        (field(), operator, value()).prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        (field(), prop::collection::vec(value(), 1..4)).prop_map(|(f, v)| format!("{f} IN ({})", v.join(","))),
        (field(), prop::collection::vec(value(), 1..3)).prop_map(|(f, v)| format!("{f} INCLUDES ({})", v.join(","))),
        (field(), field()).prop_map(|(f, g)| format!("{f} NOT IN (SELECT {g} FROM Contact)")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|l| format!("({})", l.join(" AND "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|l| format!("({})", l.join(" OR "))),
            inner.prop_map(|c| format!("NOT {c}")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    let object = prop::sample::select(vec![
        "Account",
        "Contact",
        "Task",
        "Opportunity a",
        "Case",
        "EntityDefinition",
        "Contacts",
    ]);
    let clause = |keyword: &'static str, inner: BoxedStrategy<String>| prop::option::of(inner.prop_map(move |t| format!(" {keyword} {t}")));
    let group = prop_oneof![
        field(),
        (field(), field()).prop_map(|(a, b)| format!("ROLLUP({a}, {b})")),
        (field(), field()).prop_map(|(a, b)| format!("CUBE({a}, {b})")),
    ];
    let leaf = (
        prop::collection::vec(field(), 1..4),
        object,
        clause("WHERE", condition().boxed()),
        clause("GROUP BY", group.boxed()),
        clause("HAVING", condition().boxed()),
        clause(
            "ORDER BY",
            (field(), prop::sample::select(vec!["", " DESC", " NULLS LAST"]))
                .prop_map(|(f, s)| f + s)
                .boxed(),
        ),
        clause("LIMIT", (0u32..300).prop_map(|n| n.to_string()).boxed()),
        clause("OFFSET", (0u32..2100).prop_map(|n| n.to_string()).boxed()),
    )
        .prop_map(|(fields, object, filter, group, having, order, limit, offset)| {
            let tail: String = [filter, group, having, order, limit, offset].into_iter().flatten().collect();
            format!("SELECT {} FROM {object}{tail}", fields.join(", "))
        });
    leaf.prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner).prop_map(|(outer, child)| outer.replacen("SELECT ", &format!("SELECT ({child}), "), 1))
    })
}

/// Conditions on accounts whose types fit.
fn sound_condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (
            prop::sample::select(vec!["Name", "Industry", "Parent.Name", "Owner.Username"]),
            prop::sample::select(vec!["=", "!=", "<", ">=", "LIKE"]),
            "'[a-zA-Z%_ ]{0,6}'",
        )
            .prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        (
            prop::sample::select(vec![
                "AnnualRevenue",
                "CALENDAR_YEAR(CreatedDate)",
                "DAY_IN_WEEK(SLA_Expiration__c)"
            ]),
            prop::sample::select(vec!["=", "!=", "<=", ">"]),
            -3000i32..3000,
        )
            .prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        (
            prop::sample::select(vec!["CreatedDate", "SLA_Expiration__c", "DAY_ONLY(convertTimezone(CreatedDate))"]),
            prop::sample::select(vec!["TODAY", "LAST_YEAR", "NEXT_N_WEEKS:5", "N_FISCAL_QUARTERS_AGO:3", "null"]),
        )
            .prop_map(|(f, v)| format!("{f} = {v}")),
        Just("Tags__c INCLUDES ('EU;VIP','Partner')".to_owned()),
        Just("IsDeleted = false".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|l| format!("({})", l.join(" AND "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|l| format!("({})", l.join(" OR "))),
            inner.prop_map(|c| format!("NOT {c}")),
        ]
    })
}

/// Statements the org can run.
fn sound() -> impl Strategy<Value = String> {
    let fields = vec![
        "Id",
        "Name",
        "Industry",
        "toLabel(Industry) label",
        "FORMAT(AnnualRevenue) shown",
        "Owner.Name",
        "Parent.Owner.Name",
    ];
    let keys = vec!["Industry", "Type", "IsDeleted", "CALENDAR_YEAR(CreatedDate)"];
    let sums = vec![
        "COUNT(Id)",
        "SUM(AnnualRevenue)",
        "MAX(Name)",
        "COUNT_DISTINCT(OwnerId)",
        "AVG(NumberOfEmployees)",
    ];
    let plain = (
        prop::sample::subsequence(fields, 1..5),
        prop::sample::select(vec!["", ", (SELECT Id, Account.Name FROM Contacts LIMIT 2)"]),
        sound_condition(),
        prop::sample::select(vec!["", " ORDER BY Name", " ORDER BY Owner.Name DESC NULLS LAST LIMIT 5 OFFSET 2"]),
    )
        .prop_map(|(f, child, filter, tail)| format!("SELECT {}{child} FROM Account WHERE {filter}{tail}", f.join(", ")));
    let grouped = (
        prop::sample::subsequence(keys, 1..4),
        prop::sample::subsequence(sums, 1..4),
        prop::sample::select(vec!["", "ROLLUP", "CUBE"]),
        sound_condition(),
        -5i32..50,
    )
        .prop_map(|(keys, sums, word, filter, least)| {
            let (keys, sums) = (keys.join(", "), sums.join(", "));
            let list = if word.is_empty() { keys.clone() } else { format!("{word}({keys})") };
            format!("SELECT {keys}, {sums} FROM Account WHERE {filter} GROUP BY {list} HAVING COUNT(Id) > {least} ORDER BY COUNT(Id)")
        });
    prop_oneof![plain, grouped]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_a_plan_or_an_error(text in "\\PC{0,200}") {
        answer(&text);
    }

    #[test]
    fn any_words_give_a_plan_or_an_error(words in prop::collection::vec(word(), 0..60)) {
        answer(&words.join(" "));
        answer(&format!("SELECT {}", words.join(" ")));
    }

    #[test]
    fn any_statement_gives_a_plan_or_an_error(text in statement()) {
        answer(&text);
    }

    #[test]
    fn sound_statements_run(text in sound()) {
        prop_assert!(answer(&text), "{}", text);
    }

    #[test]
    fn any_cut_or_damaged_statement_gives_a_plan_or_an_error(text in prop_oneof![statement(), sound()], at in any::<prop::sample::Index>(), noise in "\\PC{0,3}") {
        let bounds: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
        let at = bounds[at.index(bounds.len())];
        answer(&text[..at]);
        answer(&format!("{}{noise}{}", &text[..at], &text[at..]));
    }
}

#[test]
fn nesting_without_end_is_refused_with_its_place() {
    for (open, close) in [("(", ")"), ("NOT (", ")"), ("Id IN (SELECT Id FROM Contact WHERE ", ")")] {
        let deep = 3_000;
        let text = format!("SELECT Id FROM Account WHERE {}Name = 'x'{}", open.repeat(deep), close.repeat(deep));
        // Statements beyond the length limit are refused for that; these are not.
        let text: String = text.chars().take(99_000).collect();
        let error = parser::parse(&text).unwrap_err();
        assert_eq!(error.code, "QUERY_TOO_COMPLICATED", "{open}");
        assert!(error.message.contains("ERROR at Row:1:Column:"), "{}", error.message);
    }
    let wide = format!("SELECT Id FROM Account WHERE {}", vec!["Name = 'x'"; 5_000].join(" OR "));
    assert!(answer(&wide), "a long flat condition is no nesting");
    let long = format!("SELECT Id FROM Account WHERE Name = '{}'", "x".repeat(100_000));
    assert_eq!(parser::parse(&long).unwrap_err().code, "MALFORMED_QUERY");
}
