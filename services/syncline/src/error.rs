//! What the command line says when something fails: the code, what happened, and what to do about it.

use std::error::Error as _;
use std::io::Write as _;

use serde_json::json;
use syncline_domain::ErrorCode;
use thiserror::Error;
use tonic::Status;

use crate::exit::Exit;
use crate::output::Format;

/// A failure that is ready to be shown.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct CliError {
    pub exit: Exit,
    pub code: Option<ErrorCode>,
    pub message: String,
    pub remedy: Option<String>,
}

impl CliError {
    /// A failure without a code of its own.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            message: message.into(),
            remedy: None,
        }
    }

    /// A failure of the catalogue, with its remedy.
    pub fn coded(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::of_code(code),
            code: Some(code),
            message: message.into(),
            remedy: Some(code.entry().remedy.to_owned()),
        }
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The gateway did not answer at all.
    pub fn unreachable(gateway: &str, why: &str) -> Self {
        Self {
            exit: Exit::Unreachable,
            code: None,
            message: format!("the gateway at {gateway} cannot be reached: {why}"),
            remedy: Some("Start it with `syncline dev`, or say where it is with --gateway or SYNCLINE_GATEWAY_URL.".to_owned()),
        }
    }

    /// Writes itself to stderr, in the output's form.
    pub fn show(&self, format: Format) {
        if self.exit == Exit::Ok {
            return;
        }
        let mut err = std::io::stderr().lock();
        // Nobody is left to be told when stderr is gone.
        let _ = match format {
            Format::Json => writeln!(
                err,
                "{}",
                json!({"error": {
                    "code": self.code.map(ErrorCode::as_str),
                    "message": self.message,
                    "remedy": self.remedy,
                    "exit": self.exit as u8,
                }})
            ),
            Format::Table => write!(err, "{}", self.text()),
        };
    }

    fn text(&self) -> String {
        let mut text = match self.code {
            Some(code) => format!("error[{code}]: {}\n", self.message),
            None => format!("error: {}\n", self.message),
        };
        if let Some(remedy) = &self.remedy {
            text.push_str(&format!("remedy: {remedy}\n"));
        }
        text
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        let code = syncline_wire::status::code_of(&status);
        let exit = Exit::of_status(&status, code);
        let remedy = match (code, exit) {
            // The catalogue's remedy is about connections; the gateway's own refusal names the API token.
            (_, Exit::Unauthenticated) if code.is_none() || status.message().contains("API token") => {
                Some("Give the API token with --token or SYNCLINE_GATEWAY_TOKEN; `syncline dev` prints where it stands.".to_owned())
            }
            (Some(code), _) => Some(code.entry().remedy.to_owned()),
            (None, Exit::Unreachable) => Some("Try again; if it stays, look at the gateway's log.".to_owned()),
            _ => None,
        };
        let message = match status.message() {
            "" => status.code().description().to_owned(),
            message => message.to_owned(),
        };
        Self {
            exit,
            code,
            message,
            remedy,
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // `syncline report | head` has seen enough; that is no failure, and there is nothing to say.
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::new(Exit::Unexpected, error.to_string()),
        }
    }
}

/// Did the request fail on the way, before a service could answer?
pub fn is_transport(status: &Status) -> Option<String> {
    let mut source = status.source()?;
    let mut transport = source.is::<tonic::transport::Error>();
    while let Some(deeper) = source.source() {
        transport |= deeper.is::<tonic::transport::Error>() || deeper.is::<std::io::Error>();
        source = deeper;
    }
    transport.then(|| source.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_code_message_and_remedy() {
        let status = syncline_wire::status::status(ErrorCode::SyncUnknown, "run `r-1` is not known");
        let error = CliError::from(status);
        assert_eq!(error.exit, Exit::NotFound);
        let text = error.text();
        assert!(
            text.starts_with("error[SCHEMA_SYNC_002]: run `r-1` is not known\nremedy: List them"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_api_token_is_told_apart_from_an_orgs_refusal() {
        let refused = |message: &str| CliError::from(syncline_wire::status::status(ErrorCode::Credentials, message));
        let gateway = refused("no API token: send one");
        assert!(gateway.remedy.is_some_and(|r| r.contains("SYNCLINE_GATEWAY_TOKEN")));
        let org = refused("the org refused the client secret");
        assert!(org.remedy.is_some_and(|r| r.contains("the connection refers to")));
    }

    #[test]
    fn a_refusal_without_a_code_still_says_something() {
        let text = CliError::from(Status::unauthenticated("")).text();
        assert!(text.contains("error: ") && text.contains("SYNCLINE_GATEWAY_TOKEN"), "{text}");
    }
}
