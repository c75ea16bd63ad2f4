//! What the analyzer found, and what it would do.

use serde_json::{Value, json};
use syncline_wire::analysis::{Issue, PlanObject, PlanSummary};

use super::{dash, text_json};
use crate::figures::grouped;
use crate::table::Table;

/// Issues, worst first, and below them what to do, once per code.
#[must_use]
pub fn issues(issues: &[Issue]) -> String {
    if issues.is_empty() {
        return "no issues\n".to_owned();
    }
    let mut sorted: Vec<&Issue> = issues.iter().collect();
    sorted.sort_by_key(|i| rank(&i.severity));
    let mut table = Table::new(&["severity", "code", "object", "field", ">records", "finding"]);
    for i in &sorted {
        let records = match i.count {
            0 => String::new(),
            n => grouped(n),
        };
        table.row([i.severity.as_str(), &i.code, dash(&i.object), dash(&i.field), &records, &i.message]);
    }
    let mut text = table.render(0);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for i in sorted {
        let remedy = (i.code.as_str(), i.remedy.as_str());
        if !i.remedy.is_empty() && !seen.contains(&remedy) {
            seen.push(remedy);
        }
    }
    if !seen.is_empty() {
        text.push_str("\nwhat to do\n");
        for (code, remedy) in seen {
            text.push_str(&format!("  {code}: {remedy}\n"));
        }
    }
    text
}

fn rank(severity: &str) -> u8 {
    match severity {
        "fatal" => 0,
        "error" => 1,
        "warning" => 2,
        _ => 3,
    }
}

/// The plan: objects in load order, every masked field, and what the run would cost.
#[must_use]
pub fn plan(plan: &PlanSummary) -> String {
    let mut text = objects(plan);
    let masked = masked(plan);
    if !masked.is_empty() {
        text.push_str("\nmasking\n");
        text.push_str(&masked.render(2));
    }
    text.push_str(&format!("\n{}", cost(plan)));
    text
}

/// The plan without its list of masked fields, for whoever has seen it before.
#[must_use]
pub fn outline(plan: &PlanSummary) -> String {
    objects(plan) + &cost(plan)
}

fn objects(plan: &PlanSummary) -> String {
    let mut text = format!(
        "plan: {} ({}) -> {} ({})\n",
        plan.source,
        dash(&plan.source_org),
        plan.target,
        dash(&plan.target_org)
    );
    let mut table = Table::new(&[">#", "object", ">records", ">fields", ">masked", "after", "deferred"]);
    for (place, o) in plan.objects.iter().enumerate() {
        table.row([
            (place + 1).to_string().as_str(),
            &o.name,
            &grouped(o.records),
            &o.fields.to_string(),
            &masked_count(o).to_string(),
            dash(&o.parents.join(", ")),
            dash(&o.deferred_fields.join(", ")),
        ]);
    }
    text.push_str(&table.render(2));
    text
}

fn cost(plan: &PlanSummary) -> String {
    format!(
        "cost: {} records, {} calls to the source, {} to the target, {} jobs\n",
        grouped(plan.records),
        grouped(plan.source_calls),
        grouped(plan.target_calls),
        grouped(plan.jobs)
    )
}

fn masked_count(o: &PlanObject) -> usize {
    o.masked.iter().filter(|m| m.strategy != "preserve").count()
}

fn masked(plan: &PlanSummary) -> Table {
    let mut table = Table::new(&["field", "strategy", "because of"]);
    for o in &plan.objects {
        for m in &o.masked {
            table.row([format!("{}.{}", o.name, m.field).as_str(), &m.strategy, dash(&m.why)]);
        }
    }
    table
}

#[must_use]
pub fn issues_json(issues: &[Issue]) -> Value {
    issues
        .iter()
        .map(|i| {
            json!({
                "severity": i.severity, "code": i.code, "object": text_json(&i.object), "field": text_json(&i.field),
                "records": i.count, "message": i.message, "remedy": i.remedy,
            })
        })
        .collect()
}

#[must_use]
pub fn plan_json(plan: &PlanSummary) -> Value {
    let objects: Vec<Value> = plan
        .objects
        .iter()
        .map(|o| {
            let masked: Vec<Value> = o
                .masked
                .iter()
                .map(|m| json!({"field": m.field, "strategy": m.strategy, "why": m.why}))
                .collect();
            json!({
                "name": o.name, "records": o.records, "fields": o.fields, "parents": o.parents,
                "deferred_fields": o.deferred_fields, "masked": masked,
            })
        })
        .collect();
    json!({
        "source": {"connection": plan.source, "org": plan.source_org},
        "target": {"connection": plan.target, "org": plan.target_org},
        "objects": objects,
        "cost": {
            "records": plan.records, "source_calls": plan.source_calls, "target_calls": plan.target_calls, "jobs": plan.jobs,
        },
    })
}

#[cfg(test)]
mod tests {
    use syncline_wire::analysis::MaskedField;

    use super::*;

    #[test]
    fn the_worst_issue_stands_first_and_each_remedy_once() {
        let issue = |severity: &str, code: &str, field: &str, count| Issue {
            code: code.into(),
            severity: severity.into(),
            object: "Contact".into(),
            field: field.into(),
            count,
            message: format!("{field} has no decision"),
            remedy: "Add a rule.".into(),
        };
        let text = issues(&[
            issue("warning", "DATA_OWNER_001", "OwnerId", 12_345),
            issue("fatal", "MASK_UNDECIDED_001", "Email", 0),
            issue("fatal", "MASK_UNDECIDED_001", "Phone", 0),
        ]);
        assert_eq!(
            text,
            "\
severity  code                object   field    records  finding
fatal     MASK_UNDECIDED_001  Contact  Email             Email has no decision
fatal     MASK_UNDECIDED_001  Contact  Phone             Phone has no decision
warning   DATA_OWNER_001      Contact  OwnerId   12,345  OwnerId has no decision

what to do
  MASK_UNDECIDED_001: Add a rule.
  DATA_OWNER_001: Add a rule.
"
        );
        assert_eq!(issues(&[]), "no issues\n");
    }

    #[test]
    fn the_plan_shows_order_masking_and_cost() {
        let masked = |field: &str, strategy: &str| MaskedField {
            field: field.into(),
            strategy: strategy.into(),
            why: "hipaa:6".into(),
        };
        let summary = PlanSummary {
            source: "production".into(),
            source_org: "Production".into(),
            target: "sandbox".into(),
            target_org: String::new(),
            objects: vec![
                PlanObject {
                    name: "Account".into(),
                    records: 12_000,
                    fields: 40,
                    deferred_fields: vec!["ParentId".into()],
                    ..Default::default()
                },
                PlanObject {
                    name: "Contact".into(),
                    records: 30_000,
                    fields: 51,
                    parents: vec!["Account".into()],
                    masked: vec![masked("Email", "fake(email)"), masked("Title", "preserve")],
                    ..Default::default()
                },
            ],
            records: 42_000,
            source_calls: 10,
            target_calls: 25,
            jobs: 4,
        };
        assert_eq!(
            plan(&summary),
            "\
plan: production (Production) -> sandbox (-)
  #  object   records  fields  masked  after    deferred
  1  Account   12,000      40       0  -        ParentId
  2  Contact   30,000      51       1  Account  -

masking
  field          strategy     because of
  Contact.Email  fake(email)  hipaa:6
  Contact.Title  preserve     hipaa:6

cost: 42,000 records, 10 calls to the source, 25 to the target, 4 jobs
"
        );
        assert!(!outline(&summary).contains("Contact.Email"), "{}", outline(&summary));
        assert!(outline(&summary).ends_with("cost: 42,000 records, 10 calls to the source, 25 to the target, 4 jobs\n"));
        assert_eq!(plan_json(&summary)["objects"][1]["masked"][0]["field"], "Email");
    }
}
