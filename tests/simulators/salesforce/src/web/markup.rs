//! Small XML documents in and out: SOAP envelopes, Bulk API 1.0 job descriptions and rows.
//!
//! Namespaces are dropped; the services here never need them to tell two elements apart.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Nesting a document may have; deeper ones are refused, not followed.
const DEPTH_MAX: usize = 64;
/// The first line of every answer.
pub const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

/// One element with its text and its children.
#[derive(Debug, Default)]
pub struct Element {
    /// Without namespace prefix.
    pub name: String,
    /// `xsi:nil="true"` was set.
    pub nil: bool,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// A child's text without surrounding blanks.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.child(name).map(|c| c.text.trim())
    }
}

/// Reads a document; the error says what is wrong and where.
pub fn parse(document: &[u8]) -> Result<Element, String> {
    let mut reader = Reader::from_reader(document);
    let mut open: Vec<Element> = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let event = reader
            .read_event_into(&mut buffer)
            .map_err(|e| format!("{e} at byte {}", reader.error_position()))?;
        let closed = match event {
            Event::Start(start) => {
                if open.len() >= DEPTH_MAX {
                    return Err(format!("more than {DEPTH_MAX} nested elements"));
                }
                open.push(element(&start)?);
                None
            }
            Event::Empty(start) => Some(element(&start)?),
            Event::End(_) => open.pop(),
            Event::Text(text) => {
                let text = text.decode().map_err(|e| e.to_string())?;
                append(&mut open, &text);
                None
            }
            Event::CData(data) => {
                let text = String::from_utf8_lossy(&data).into_owned();
                append(&mut open, &text);
                None
            }
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|e| e.to_string())?;
                let name = reference.decode().map_err(|e| e.to_string())?;
                let text = match character {
                    Some(c) => c.to_string(),
                    None => quick_xml::escape::resolve_predefined_entity(&name)
                        .ok_or_else(|| format!("entity {name} is not defined"))?
                        .to_owned(),
                };
                append(&mut open, &text);
                None
            }
            Event::DocType(_) => return Err("DOCTYPE is not allowed".into()),
            Event::Eof => return Err("the document ends early".into()),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => None,
        };
        buffer.clear();
        if let Some(done) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(done),
                None => return Ok(done),
            }
        }
    }
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut nil = false;
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        nil |= attribute.key.local_name().as_ref() == b"nil" && attribute.value.as_ref() == b"true";
    }
    Ok(Element {
        name: String::from_utf8_lossy(start.local_name().as_ref()).into_owned(),
        nil,
        ..Element::default()
    })
}

/// Appends `<name>text</name>`.
pub fn leaf(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    out.push_str(&quick_xml::escape::escape(text));
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_entities_sections_and_prefixes_are_read() {
        let document =
            br#"<?xml version="1.0"?><!-- c --><a:x xmlns:a="u"><b>1 &lt; 2 &#38; <![CDATA[<3>]]></b><c xsi:nil="true"/><b/></a:x>"#;
        let root = parse(document).unwrap();
        assert_eq!(root.name, "x");
        assert_eq!(root.value("b"), Some("1 < 2 & <3>"));
        assert!(root.child("c").unwrap().nil);
        assert_eq!(root.children.len(), 3);
    }

    #[test]
    fn broken_documents_are_refused() {
        let deep = "<a>".repeat(100_000);
        for bad in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a>&nope;</a>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>",
            "<a b=>",
            &deep,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:.40}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = String::new();
        leaf(&mut out, "v", "a <b> & \"c\" ü");
        assert_eq!(parse(out.as_bytes()).unwrap().text, "a <b> & \"c\" ü");
    }
}
