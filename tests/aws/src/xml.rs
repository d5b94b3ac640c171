//! XML of S3, IAM and STS, as JSON: elements that repeat are lists, whose names are given.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::message::Refusal;

/// Elements that repeat, by their parent and name, and the name of the list in JSON.
const LISTS: &[(&str, &str, &str)] = &[
    ("ReplicationConfiguration", "Rule", "Rules"),
    ("And", "Tag", "Tags"),
    ("TagSet", "Tag", "Tag"),
    ("ServerSideEncryptionConfiguration", "Rule", "Rules"),
    ("OwnershipControls", "Rule", "Rules"),
    ("Delete", "Object", "Objects"),
];
/// Elements whose text is a number.
const NUMBERS: &[&str] = &["Priority", "Minutes", "Days", "Years"];

/// A body as JSON.
///
/// # Errors
/// `MalformedXML`, if it is none.
pub fn read(body: &[u8]) -> Result<Value, Refusal> {
    let malformed = || {
        Refusal::new(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    };
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let document = roxmltree::Document::parse(text).map_err(|_| malformed())?;
    Ok(value(document.root_element()))
}

fn value(element: roxmltree::Node<'_, '_>) -> Value {
    let children: Vec<_> = element
        .children()
        .filter(roxmltree::Node::is_element)
        .collect();
    let name = element.tag_name().name();
    if children.is_empty() {
        let text = element.text().unwrap_or_default();
        return match text.parse::<i64>() {
            Ok(number) if NUMBERS.contains(&name) => json!(number),
            // An element without children may be one whose children are all absent.
            _ if text.is_empty() && name != "Prefix" && name != "Value" => json!({}),
            _ => json!(text),
        };
    }
    let mut object = Map::new();
    for child in children {
        let child_name = child.tag_name().name();
        let list = LISTS
            .iter()
            .find(|(parent, element, _)| *parent == name && *element == child_name);
        match list {
            Some((_, _, list)) => {
                if let Value::Array(items) = object.entry(*list).or_insert_with(|| json!([])) {
                    items.push(value(child));
                }
            }
            None => {
                object.insert(child_name.to_owned(), value(child));
            }
        }
    }
    Value::Object(object)
}

/// The element `name` with what `value` has, as [`read`] would read it.
#[must_use]
pub fn element(name: &str, value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, name, value);
    text
}

fn write(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| write(text, name, item)),
        Value::Object(children) => {
            let _ = write!(text, "<{name}>");
            for (child, value) in children {
                let list = LISTS
                    .iter()
                    .find(|(parent, _, list)| *parent == name && list == child);
                write(text, list.map_or(child, |(_, element, _)| element), value);
            }
            let _ = write!(text, "</{name}>");
        }
        Value::String(plain) => {
            let _ = write!(text, "<{name}>{}</{name}>", escaped(plain));
        }
        other => {
            let _ = write!(text, "<{name}>{other}</{name}>");
        }
    }
}

/// Text as it stands in an element.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_and_written_alike() {
        let text = "<ReplicationConfiguration><Role>r</Role><Rule><ID>a &amp; b</ID><Priority>1</Priority><Filter><Prefix></Prefix></Filter></Rule><Rule><Filter><And><Tag><Key>k</Key><Value></Value></Tag></And></Filter></Rule></ReplicationConfiguration>";
        let read = read(text.as_bytes()).expect("XML");
        assert_eq!(read["Rules"][0]["Priority"], json!(1));
        assert_eq!(
            read["Rules"][1]["Filter"]["And"]["Tags"][0]["Value"],
            json!("")
        );
        assert_eq!(element("ReplicationConfiguration", &read), text);
    }
}
