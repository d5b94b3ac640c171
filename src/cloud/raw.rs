//! The elements of a replication configuration's XML that the types do not support: a PUT would silently remove them.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept, context::AfterDeserializationInterceptorContextRef, dyn_dispatch_hint,
        },
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use roxmltree::{Document, Node};
use serde_json::{Value, json};

use crate::replication::{configuration::Configuration, observed::UnknownElement};

/// Keeps the body of an answer as it came.
#[derive(Clone, Debug, Default)]
pub struct Body(Arc<Mutex<String>>);

impl Body {
    /// The body of the last answer.
    #[must_use]
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Body {
    fn name(&self) -> &'static str {
        "Body"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            String::from_utf8_lossy(body).into_owned();
        Ok(())
    }
}

/// The elements of `xml` that would be missing if `configuration`, which was read from it, were written back.
///
/// # Errors
/// When `xml` is none.
pub fn unknown_elements(
    xml: &str,
    configuration: &Configuration,
) -> Result<Vec<UnknownElement>, roxmltree::Error> {
    let document = Document::parse(xml)?;
    let elements = |node: Node<'_, '_>| {
        node.children()
            .filter(Node::is_element)
            .map(|child| child.id())
            .collect::<Vec<_>>()
    };
    let root = document.root_element();
    let mut rules = configuration.rules.iter();
    let mut unknown = vec![];
    for node in elements(root)
        .into_iter()
        .filter_map(|id| document.get_node(id))
    {
        match node.tag_name().name() {
            "Role" => {}
            "Rule" => {
                let rule = rules.next();
                let mut kept = vec![];
                leaves_of_value("", &json!(rule), &mut kept);
                let mut found = vec![];
                elements(node)
                    .into_iter()
                    .filter_map(|id| document.get_node(id))
                    .for_each(|child| leaves_of_node("", child, &mut found));
                let lost = found.into_iter().filter(|leaf| {
                    match kept.iter().position(|kept| kept == leaf) {
                        Some(place) => {
                            kept.swap_remove(place);
                            false
                        }
                        None => true,
                    }
                });
                unknown.extend(lost.map(|(path, _)| UnknownElement {
                    rule: rule.and_then(|rule| rule.id.clone()),
                    path,
                }));
            }
            other => unknown.push(UnknownElement {
                rule: None,
                path: other.to_owned(),
            }),
        }
    }
    Ok(unknown)
}

/// A place in a rule and its content.
type Leaf = (String, String);

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}

fn leaves_of_node(path: &str, node: Node<'_, '_>, leaves: &mut Vec<Leaf>) {
    let path = join(path, node.tag_name().name());
    let mut children = node.children().filter(Node::is_element).peekable();
    if children.peek().is_none() {
        leaves.push((path, node.text().unwrap_or_default().to_owned()));
        return;
    }
    children.for_each(|child| leaves_of_node(&path, child, leaves));
}

fn leaves_of_value(path: &str, value: &Value, leaves: &mut Vec<Leaf>) {
    match value {
        Value::Object(fields) if fields.is_empty() => leaves.push((path.to_owned(), String::new())),
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| leaves_of_value(&join(path, name), value, leaves)),
        // In XML, a list is a sequence of elements with the same name.
        Value::Array(items) => items
            .iter()
            .for_each(|item| leaves_of_value(path.strip_suffix('s').unwrap_or(path), item, leaves)),
        Value::String(text) => leaves.push((path.to_owned(), text.clone())),
        Value::Null => {}
        other => leaves.push((path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::configuration::{
        And, Filter, ReplicationRule, RuleDestination, Setting, Tag,
    };

    fn configuration() -> Configuration {
        let tags = ["a", "b"]
            .map(|key| Tag {
                key: key.into(),
                value: "é<&>".into(),
            })
            .to_vec();
        let rule = ReplicationRule {
            id: Some("theirs".into()),
            priority: Some(1),
            filter: Some(Filter {
                and: Some(And {
                    prefix: Some("p".into()),
                    tags,
                }),
                ..Filter::default()
            }),
            destination: RuleDestination {
                bucket: "arn:aws:s3:::d".into(),
                ..RuleDestination::default()
            },
            delete_marker_replication: Some(Setting::new(false)),
            ..ReplicationRule::default()
        };
        Configuration {
            role: "arn:aws:iam::111111111111:role/r".into(),
            rules: vec![rule],
        }
    }

    fn xml(more: &str) -> String {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <ReplicationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Role>arn:aws:iam::111111111111:role/r</Role>
              <Rule>
                <ID>theirs</ID><Priority>1</Priority><Status>Enabled</Status>
                <Filter><And><Prefix>p</Prefix>
                  <Tag><Key>a</Key><Value>é&lt;&amp;&gt;</Value></Tag><Tag><Key>b</Key><Value>é&lt;&amp;&gt;</Value></Tag>
                </And></Filter>
                <Destination><Bucket>arn:aws:s3:::d</Bucket></Destination>
                <DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>{more}
              </Rule>
            </ReplicationConfiguration>"#
        )
    }

    #[test]
    fn what_our_types_hold_is_known() {
        assert_eq!(unknown_elements(&xml(""), &configuration()), Ok(vec![]));
    }

    #[test]
    fn what_they_would_lose_is_found() {
        let found = unknown_elements(
            &xml("<Throttle><Rate>5</Rate></Throttle><Priority>2</Priority>"),
            &configuration(),
        )
        .expect("XML");
        let found: Vec<_> = found
            .iter()
            .map(|unknown| (unknown.rule.as_deref(), unknown.path.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (Some("theirs"), "Throttle/Rate"),
                (Some("theirs"), "Priority")
            ]
        );
        let beside = xml("").replace("</Role>", "</Role><Mode>new</Mode>");
        let found = unknown_elements(&beside, &configuration()).expect("XML");
        assert_eq!(
            found,
            [UnknownElement {
                rule: None,
                path: "Mode".into()
            }]
        );
    }

    #[test]
    fn a_status_that_we_do_not_know_is_found() {
        let other = xml("").replace("<Status>Enabled</Status>", "<Status>Suspended</Status>");
        assert_eq!(
            unknown_elements(&other, &configuration())
                .expect("XML")
                .len(),
            1
        );
    }
}
