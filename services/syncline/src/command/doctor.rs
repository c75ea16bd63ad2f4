//! `syncline doctor`: see [`crate::doctor`].

use serde_json::json;
use syncline_runtime::entry;

use crate::cli::Global;
use crate::doctor::client::{self, Way};
use crate::doctor::{Examination, Finding, Verdict, bus, database, environment, keys, peers};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// As wide as the narrowest screen that people use.
const WIDTH: usize = 80;
/// What stands before a check: its verdict and a gap.
const VERDICT_WIDTH: usize = 6;

/// # Errors
/// When stdout cannot be written. What is not well is no error: it is shown, and ends with 1.
pub fn run(global: &Global, installation: bool) -> Result<Exit, CliError> {
    let output = Output { format: global.output };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(async {
        entry::install_crypto();
        let way = Way {
            url: &global.gateway,
            ca: global.ca.as_deref(),
            token: global.token.as_ref(),
        };
        if installation {
            let (mut seen, behind) = tokio::join!(client::examine(&way), installed());
            seen.append(behind);
            seen
        } else {
            client::examine(&way).await
        }
    });
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    let json = json!({
        "findings": seen.findings,
        "not_checked": seen.unseen,
        "ok": seen.count(Verdict::Ok),
        "warn": seen.count(Verdict::Warn),
        "fail": seen.count(Verdict::Fail),
    });
    output.result(&text(&seen), &json)?;
    Ok(match seen.count(Verdict::Fail) {
        0 => Exit::Ok,
        _ => Exit::Unexpected,
    })
}

/// What the environment of services names.
async fn installed() -> Examination {
    let get = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let (mut seen, config) = environment::examine(&get);
    let Some(config) = config else {
        seen.unseen
            .push("keys, certificates, servers and services: the environment comes first".to_owned());
        return seen;
    };
    seen.append(keys::examine(&config.keys, keys::is_alone(&config)));
    seen.append(environment::certificates(&config, &get));
    let (bus, database, peers) = tokio::join!(bus::examine(&config), database::examine(&config), peers::examine(&config));
    for part in [bus, database, peers] {
        seen.append(part);
    }
    seen
}

fn text(seen: &Examination) -> String {
    let check_width = seen.findings.iter().map(|f| f.check.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in &seen.findings {
        text.push_str(&lines(finding, check_width));
    }
    if !seen.unseen.is_empty() {
        text.push_str("\nnot checked:\n");
    }
    for unseen in &seen.unseen {
        text.push_str(&wrapped("  - ", 4, unseen));
    }
    text.push_str(&format!(
        "\n{} ok, {} warn, {} fail\n",
        seen.count(Verdict::Ok),
        seen.count(Verdict::Warn),
        seen.count(Verdict::Fail)
    ));
    text
}

fn lines(finding: &Finding, check_width: usize) -> String {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    };
    let first = format!("{verdict:<VERDICT_WIDTH$}{:<check_width$}  ", finding.check);
    let mut text = wrapped(&first, first.chars().count(), &finding.detail);
    if let Some(remedy) = &finding.remedy {
        let indent = VERDICT_WIDTH + 2;
        text.push_str(&wrapped(&" ".repeat(indent), indent, remedy));
    }
    text
}

/// Words behind `first`, on as many lines as they take; later ones begin at `indent`. A word is never torn apart.
fn wrapped(first: &str, indent: usize, words: &str) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        // What another machine said must not steer this screen.
        line.extend(word.chars().filter(|c| !c.is_control()));
        is_empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_remedy_stands_below() {
        let mut seen = Examination::default();
        seen.add(Finding::ok("clock", "as the gateway's, within a minute"));
        seen.add(Finding::fail("gateway port", "nobody listens", "Start it."));
        seen.unseen.push("the moon".to_owned());
        assert_eq!(
            text(&seen),
            "\
ok    clock         as the gateway's, within a minute
fail  gateway port  nobody listens
        Start it.

not checked:
  - the moon

1 ok, 0 warn, 1 fail
"
        );
    }

    #[test]
    fn long_lines_are_broken_between_words_within_eighty_columns() {
        let finding = Finding::warn("a check", "word \x1b[2J ".repeat(40), "remedy ".repeat(40));
        let shown = lines(&finding, 20);
        assert!(shown.lines().count() > 6, "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= WIDTH && !line.contains('\x1b'), "{line}");
        }
        assert!(shown.lines().nth(1).is_some_and(|l| l.starts_with(&" ".repeat(28))), "{shown}");
    }
}
