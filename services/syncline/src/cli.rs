//! The arguments.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;
use syncline_domain::{ConnectionName, SyncName};

use crate::exit::EXIT_CODES;
use crate::output::Format;

/// Where `syncline dev` listens unless told otherwise.
pub const GATEWAY_DEFAULT: &str = "http://127.0.0.1:7600";

/// Refreshes orgs from each other: checked before, masked on the way, accounted for to the last record.
#[derive(Parser)]
#[command(name = "syncline", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Global {
    /// Where the gateway is
    #[arg(long, global = true, value_name = "URL", env = "SYNCLINE_GATEWAY_URL", default_value = GATEWAY_DEFAULT)]
    pub gateway: String,
    /// API token; better given by the environment, where process lists don't show it
    #[arg(long, global = true, env = "SYNCLINE_GATEWAY_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<SecretString>,
    /// Certificate authority of the gateway (PEM), where the system does not know it; for an address with https://
    #[arg(long, global = true, value_name = "FILE", env = "SYNCLINE_GATEWAY_CA")]
    pub ca: Option<PathBuf>,
    /// Form of the results on stdout; messages go to stderr
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

#[derive(Subcommand)]
pub enum Command {
    /// Run every service in one process
    Dev(Dev),
    /// Run one service, configured by its environment
    Serve {
        /// Which one
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(syncline_runtime::config::PORTS.map(|(name, _)| name)))]
        service: String,
    },
    /// Ask one service for its health; exits with 0 if it serves
    Health {
        /// Where it is, such as http://127.0.0.1:7601
        url: String,
        /// `readiness`: its servers are there; `liveness`: the process works
        #[arg(long, default_value = "readiness", value_parser = ["readiness", "liveness"])]
        service: String,
    },
    /// See what is missing, unreachable, too old or misconfigured, and how to mend it; exits with 1 if anything fails
    Doctor {
        /// Look at the installation too, by the environment of its services: settings, keys, certificates, NATS,
        /// PostgreSQL, every service
        #[arg(long)]
        installation: bool,
    },
    /// Make what an installation keeps to itself: keys, first token, users of NATS, certificates; overwrites nothing
    Secrets(Secrets),
    /// Key-encryption keys, with the connector's environment
    #[command(subcommand)]
    Keys(Keys),
    /// Bring every schema and stream up to date, once, for services with SYNCLINE_MIGRATE=never
    Migrate,
    /// Manage connections to orgs
    #[command(subcommand)]
    Connection(Connection),
    /// Store definitions: connections first, then syncs; nothing when any document is not valid
    Apply(Apply),
    /// Propose a first sync from two connections: objects, what they need, masking, with the reasons as comments
    Init(Init),
    /// Analyse a sync without running it: issues and plan; exits with 2 on a fatal issue
    Check {
        /// Name of the sync
        sync: String,
    },
    /// Run a sync
    Run(Run),
    /// List runs, look at one, steer one
    Runs(Runs),
    /// What became of every record of a run
    Report {
        /// A run's id, or `latest`
        #[arg(default_value = LATEST)]
        run: String,
    },
    /// Batches that no retry could save: list them, look at one, replay or discard them
    DeadLetters(DeadLetters),
    /// Make, list and revoke API tokens (administrators)
    #[command(subcommand)]
    Token(Token),
    /// Whom the gateway takes you for
    Whoami,
    /// Read the audit log, export it, prove that nobody changed it
    #[command(subcommand)]
    Audit(Audit),
    /// Make a definition from another tool's configuration, and list what cannot be carried over
    #[command(subcommand)]
    Import(Import),
    /// Print the script that completes commands in a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// Directory of the pages; made if it is not there
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the version
    Version,
}

/// The newest run, whichever it is.
pub const LATEST: &str = "latest";

#[derive(Args)]
pub struct Dev {
    /// Directory of the keys: files kek-raw, kek-clean, credentials, digest and mask of 64 hexadecimal digits each
    #[arg(long, value_name = "DIR", env = "SYNCLINE_KEYS_DIR")]
    pub keys_dir: Option<PathBuf>,
    /// Make the keys that are missing in that directory; done anyway when it is the default, .local/keys
    #[arg(long)]
    pub init_keys: bool,
    /// Write the gateway's address into this file once every service is ready
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Connection {
    /// Store a connection, its secret sealed
    Add(ConnectionAdd),
    /// List connections and their health
    List,
    /// One connection, its health, and how its requests are tried again
    Show { name: String },
    /// Sign in, ask the org who it is
    Test { name: String },
    /// Forget a connection
    Delete { name: String },
}

#[derive(Args)]
pub struct ConnectionAdd {
    /// Name of the connection
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<String>,
    /// A file with documents of kind Connection; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Where tokens are had: the login host or My Domain
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    pub url: Option<String>,
    /// How to sign in; the other flows are given by a file. With web_server a browser is sent to the org, also for a file's
    #[arg(long, value_enum, default_value_t, conflicts_with = "file")]
    pub flow: Flow,
    /// The connected app's consumer key
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    pub client_id: Option<String>,
    /// Environment variable that holds the client secret
    #[arg(long, value_name = "VAR", conflicts_with_all = ["file", "client_secret_file"])]
    pub client_secret_env: Option<String>,
    /// File that holds the client secret
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub client_secret_file: Option<String>,
    /// API version, such as 65.0
    #[arg(long, value_name = "VERSION", conflicts_with = "file")]
    pub api_version: Option<String>,
    /// Where the browser comes back to: register http://localhost:PORT/OauthRedirect with the app, exactly
    #[arg(long, value_name = "PORT", default_value_t = 1717)]
    pub port: u16,
    /// Print the address and open no browser
    #[arg(long)]
    pub no_browser: bool,
    /// How many seconds to wait for somebody to sign in
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub wait: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Flow {
    /// As the user that the app runs as; at the org's own My Domain
    #[default]
    ClientCredentials,
    /// As the person who signs in with a browser
    WebServer,
}

#[derive(Args)]
pub struct Apply {
    /// Files with one or more documents; `-` is stdin
    #[arg(short, long = "file", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
}

#[derive(Args)]
pub struct Run {
    /// Name of the sync
    pub sync: String,
    /// Follow the run to its end; Ctrl-C stops following, not the run
    #[arg(short, long)]
    pub watch: bool,
    /// The same key submits the same run once
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Runs {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// Only runs of this sync
    #[arg(long)]
    pub sync: Option<String>,
    /// At most so many, newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Subcommand)]
pub enum RunsCommand {
    /// Where a run stands
    Show { run: String },
    /// What a run waits for, since when, and what would help
    Explain { run: String },
    /// Follow a run to its end
    Watch { run: String },
    /// Cancel a run
    Cancel { run: String },
    /// Pause a run
    Pause { run: String },
    /// Go on with a paused run
    Resume { run: String },
    /// Approve the plan of a run that waits for it
    Approve { run: String },
    /// Load the records again that a run ended without: refused ones, and parked ones whose parents are there by then
    RetryFailed(RetryFailed),
}

#[derive(Args)]
pub struct Init {
    /// The connection to read from
    pub source: String,
    /// The connection to write to
    pub target: String,
    /// An object to take along, with all that it needs; may be repeated. Without: the usual ones that both orgs have
    #[arg(long = "object", value_name = "OBJECT")]
    pub objects: Vec<String>,
    /// Whose rules personal data is masked by
    #[arg(long, value_enum, default_value_t)]
    pub framework: Framework,
    /// The sync's name
    #[arg(long, default_value = "refresh")]
    pub name: String,
    /// Write it to a file that is not there yet
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Framework {
    /// The eighteen identifiers of HIPAA's Safe Harbor
    #[default]
    Hipaa,
    /// No preset: every classified field needs a rule
    None,
}

#[derive(Subcommand)]
pub enum Keys {
    /// Wrap every data key under the newest keys, after a rotation; what they seal is not touched
    Rewrap,
}

#[derive(Args)]
pub struct Secrets {
    /// Where; made if it is not there
    pub dir: PathBuf,
    /// A name or address under which a service or NATS is called, beside loopback; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// How many days certificates live
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub days: u64,
    /// Make new certificates of the same authority; keys and passwords stay
    #[arg(long = "renew-certificates")]
    pub renew: bool,
}

#[derive(Args)]
pub struct RetryFailed {
    pub run: String,
    /// Only records of this object
    #[arg(long)]
    pub object: Option<String>,
    /// Only records that were refused with this code
    #[arg(long)]
    pub code: Option<String>,
    /// Say which records these are, and do nothing
    #[arg(long = "dry-run")]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeadLetters {
    #[command(subcommand)]
    pub command: Option<DeadLettersCommand>,
    #[command(flatten)]
    pub list: ListLetters,
}

#[derive(Subcommand)]
pub enum DeadLettersCommand {
    /// List them, newest first
    List(ListLetters),
    /// What is known of one; never what it carries
    Show { id: u64 },
    /// Reopen their run and work on them again
    Replay(DecideLetters),
    /// Give them up for good; their records stay counted as dead
    Discard {
        #[command(flatten)]
        which: DecideLetters,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
pub struct ListLetters {
    #[command(flatten)]
    pub filter: LetterFilter,
    /// Only those in this state: kept, replaying, replayed, discarded
    #[arg(long)]
    pub state: Option<String>,
    /// At most so many, newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Args)]
pub struct LetterFilter {
    /// Only those of this run
    #[arg(long)]
    pub run: Option<String>,
    /// Only those of this object
    #[arg(long)]
    pub object: Option<String>,
    /// Only those that this stage gave up: masker, loader
    #[arg(long)]
    pub stage: Option<String>,
    /// Only those with this error code
    #[arg(long)]
    pub code: Option<String>,
}

#[derive(Args)]
pub struct DecideLetters {
    /// One letter, by its id; otherwise name the run
    #[arg(required_unless_present = "run")]
    pub id: Option<u64>,
    #[command(flatten)]
    pub filter: LetterFilter,
    /// Say how many these are, and do nothing
    #[arg(long = "dry-run")]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

#[derive(Subcommand)]
pub enum Token {
    /// Make a token; its secret is printed this once
    Create {
        /// Whom it stands for: the audit log and owned connections name it
        subject: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t)]
        role: Role,
        /// How many days it lives
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// List tokens, oldest first
    List,
    /// End a token at once
    Revoke {
        /// The token's id, as `token list` shows it
        id: String,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Looks
    #[default]
    Viewer,
    /// Runs syncs, changes definitions and connections of its own
    Operator,
    /// Everything
    Admin,
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

#[derive(Subcommand)]
pub enum Audit {
    /// Entries, oldest first (administrators)
    List(AuditList),
    /// Every entry as a line of JSON on stdout, the end of the chain as the last line (administrators)
    Export,
    /// See whether the chain holds: of an exported file, or of the whole log behind the gateway; exits with 1 if not
    Verify {
        /// What `audit export` wrote; `-` is stdin. Without it the gateway is asked
        file: Option<PathBuf>,
        /// Accept a file whose end was cut off: what is left of it is verified
        #[arg(long, requires = "file")]
        partial: bool,
    },
}

#[derive(Args)]
pub struct AuditList {
    /// Only what this subject did
    #[arg(long)]
    pub subject: Option<String>,
    /// Only what touches this connection
    #[arg(long)]
    pub connection: Option<String>,
    /// Only entries behind this number
    #[arg(long, default_value_t = 0)]
    pub after: u64,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Subcommand)]
pub enum Import {
    /// From SFDMU's export.json; nothing is guessed, and what a sync cannot hold is named on stderr and in comments
    Sfdmu(ImportSfdmu),
}

#[derive(Args)]
pub struct ImportSfdmu {
    /// The export.json; `-` is stdin
    pub file: PathBuf,
    /// Connection that is read
    #[arg(long, value_name = "CONNECTION", default_value = "source")]
    pub source: ConnectionName,
    /// Connection that is written
    #[arg(long, value_name = "CONNECTION", default_value = "target")]
    pub target: ConnectionName,
    /// Name of the sync; of several sets of objects the second is NAME-2, and so on
    #[arg(long, default_value = "sfdmu")]
    pub name: SyncName,
    /// Write the definition into this file, which must not be there yet, instead of to stdout
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_arguments_do_not_contradict_themselves() {
        Cli::command().debug_assert();
    }

    #[test]
    fn output_and_gateway_stand_before_or_behind_the_command() {
        for line in [
            "syncline -o json --gateway http://h:1 report latest",
            "syncline report latest -o json --gateway http://h:1",
            "syncline runs show r-1 --output json --gateway http://h:1",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.global.output, Format::Json, "{line}");
            assert_eq!(cli.global.gateway, "http://h:1", "{line}");
        }
    }

    #[test]
    fn a_report_is_of_the_latest_run_unless_told_otherwise() {
        let Command::Report { run } = parse("syncline report").unwrap().command else {
            panic!("a report")
        };
        assert_eq!(run, LATEST);
    }

    #[test]
    fn several_files_are_applied_at_once() {
        let Command::Apply(apply) = parse("syncline apply -f a.yaml b.yaml -f c.yaml").unwrap().command else {
            panic!("an apply")
        };
        assert_eq!(apply.files.len(), 3);
        assert!(parse("syncline apply").is_err());
    }

    #[test]
    fn a_connection_comes_from_a_file_or_from_flags() {
        for good in [
            "syncline connection add -f c.yaml",
            "syncline connection add prod --url https://x --client-id id --client-secret-env VAR",
            "syncline connection add prod --url https://x --flow client_credentials --client-id id --client-secret-file f --api-version 65.0",
            "syncline connection add prod --url https://x --flow web_server --client-id id --port 8080 --no-browser --wait 60",
        ] {
            assert!(parse(good).is_ok(), "{good}: {}", parse(good).err().unwrap());
        }
        for bad in [
            "syncline connection add",
            "syncline connection add prod",
            "syncline connection add prod -f c.yaml",
            "syncline connection add prod --url https://x --client-id id --client-secret-env A --client-secret-file B",
            "syncline connection add prod --url https://x --flow guess --client-id id --client-secret-env A",
        ] {
            assert_eq!(parse(bad).err().map(|e| e.exit_code()), Some(2), "{bad}");
        }
    }

    #[test]
    fn runs_lists_or_steers() {
        assert!(matches!(
            parse("syncline runs --sync s --limit 5").unwrap().command,
            Command::Runs(Runs {
                command: None,
                limit: 5,
                ..
            })
        ));
        for action in ["show", "watch", "cancel", "pause", "resume", "approve"] {
            assert!(parse(&format!("syncline runs {action} r-1")).is_ok());
            assert!(parse(&format!("syncline runs {action}")).is_err());
        }
        assert!(parse("syncline runs --limit 0").is_err());
    }
}
