//! Entries of the audit log.

use chrono::{DateTime, SecondsFormat};
use syncline_domain::audit::Link;

use super::dash;
use crate::table::Table;

#[must_use]
pub fn table(links: &[Link]) -> String {
    let mut table = Table::new(&[
        ">seq",
        "at (UTC)",
        "subject",
        "role",
        "method",
        "on",
        "connections",
        "result",
        "from",
    ]);
    for Link { entry: e, .. } in links {
        let at = DateTime::from_timestamp_micros(e.at_us).map(|t| t.to_rfc3339_opts(SecondsFormat::Secs, true));
        // `/syncline.run.v1.RunService/GetRun` is `RunService/GetRun` for people.
        let method = e.method.rsplit_once('.').map_or(e.method.as_str(), |(_, method)| method);
        table.row([
            e.seq.to_string().as_str(),
            &at.unwrap_or_default(),
            dash(&e.subject),
            dash(&e.role),
            method,
            dash(&e.resource),
            dash(&e.connections),
            &e.result,
            &e.address,
        ]);
    }
    table.render(0)
}
