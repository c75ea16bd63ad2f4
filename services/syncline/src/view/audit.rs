//! Entries of the audit log. Addresses, roles and connections do not fit a terminal's width: they are in the JSON.

use chrono::DateTime;
use syncline_domain::audit::Link;

use super::dash;
use crate::table::Table;

#[must_use]
pub fn table(links: &[Link]) -> String {
    let mut table = Table::new(&[">seq", "at (UTC)", "who", "method", "on", "result"]);
    for Link { entry: e, .. } in links {
        let at = DateTime::from_timestamp_micros(e.at_us).map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string());
        // `/syncline.run.v1.RunService/GetRun` is `GetRun` for people; no two services share a method's name.
        let method = e.method.rsplit_once('/').map_or(e.method.as_str(), |(_, method)| method);
        table.row([
            e.seq.to_string().as_str(),
            &at.unwrap_or_default(),
            dash(&e.subject),
            method,
            dash(&e.resource),
            &e.result,
        ]);
    }
    table.render(0)
}
