//! Envelopes and faults.

use crate::web::markup::{self, DECLARATION, Element, leaf};

/// Which of the two WSDL files a client was made from.
#[derive(Clone, Copy)]
pub enum Wsdl {
    Partner,
    Enterprise,
}

/// A call taken out of its envelope.
pub struct Request {
    pub session: Option<String>,
    pub operation: Element,
}

impl Request {
    pub fn read(document: &[u8]) -> Result<Self, Fault> {
        let envelope = markup::parse(document).map_err(Fault::client)?;
        if envelope.name != "Envelope" {
            return Err(Fault::client("the document is no SOAP envelope"));
        }
        let mut session = None;
        let mut operation = None;
        for part in envelope.children {
            match part.name.as_str() {
                "Header" => session = part.child("SessionHeader").and_then(|h| h.value("sessionId")).map(str::to_owned),
                "Body" => operation = part.children.into_iter().next(),
                _ => {}
            }
        }
        let operation = operation.ok_or_else(|| Fault::client("the SOAP body is empty"))?;
        Ok(Self { session, operation })
    }
}

/// A refused call.
pub struct Fault {
    kind: &'static str,
    code: &'static str,
    message: String,
}

impl Fault {
    /// Wrong credentials, or a login that is not allowed.
    pub fn login(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: "LoginFault",
            code,
            message: message.into(),
        }
    }

    pub fn unexpected(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: "UnexpectedErrorFault",
            code,
            message: message.into(),
        }
    }

    /// A request no service could read; carries no exception of the org's own.
    pub fn client(message: impl Into<String>) -> Self {
        Self {
            kind: "",
            code: "",
            message: message.into(),
        }
    }
}

impl Wsdl {
    fn name(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Enterprise => "enterprise",
        }
    }

    /// Wraps an answer.
    pub fn envelope(self, body: &str) -> String {
        format!(
            "{DECLARATION}<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns=\"urn:{}.soap.sforce.com\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>",
            self.name()
        )
    }

    /// Wraps a refusal.
    pub fn fault(self, fault: &Fault) -> String {
        let mut body = String::from("<soapenv:Fault>");
        if fault.kind.is_empty() {
            leaf(&mut body, "faultcode", "soapenv:Client");
            leaf(&mut body, "faultstring", &fault.message);
        } else {
            leaf(&mut body, "faultcode", &format!("sf:{}", fault.code));
            leaf(&mut body, "faultstring", &format!("{}: {}", fault.code, fault.message));
            let kind = fault.kind;
            body.push_str(&format!("<detail><sf:{kind} xsi:type=\"sf:{kind}\">"));
            leaf(&mut body, "sf:exceptionCode", fault.code);
            leaf(&mut body, "sf:exceptionMessage", &fault.message);
            body.push_str(&format!("</sf:{kind}></detail>"));
        }
        body.push_str("</soapenv:Fault>");
        format!(
            "{DECLARATION}<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:sf=\"urn:fault.{}.soap.sforce.com\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
             <soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>",
            self.name()
        )
    }
}
