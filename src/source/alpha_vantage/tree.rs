//! A body whose names are known only in part: objects in the order sent, with fields found by the words after their
//! number (`05. price`, `2: Symbol`). Numbers are texts, as the provider sends them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{Dec, Judgement};

/// A value of such a body.
pub(super) enum Node {
    Bool,
    List,
    Null,
    Object(Object),
    Text(String),
}

/// Fields in the order sent.
#[derive(Default)]
pub(super) struct Object(Vec<(String, Node)>);

impl Object {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The field of exactly this name.
    pub(super) fn exact(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }

    /// The object whose name starts with `start`, with its whole name.
    pub(super) fn starting_with(&self, start: &str) -> Result<Option<(&str, &Object)>, Judgement> {
        self.object(|name| name.starts_with(start))
    }

    /// The object whose name contains `part`, with its whole name.
    pub(super) fn containing(&self, part: &str) -> Result<Option<(&str, &Object)>, Judgement> {
        self.object(|name| name.contains(part))
    }

    /// The fields, each of which has to be an object.
    pub(super) fn objects<'a>(
        &'a self,
        path: &'a str,
    ) -> impl Iterator<Item = (&'a str, Result<&'a Object, Judgement>)> {
        self.0.iter().map(move |(name, node)| match node {
            Node::Object(object) => (name.as_str(), Ok(object)),
            other => (name.as_str(), Err(unfit(&format!("{path}.{name}"), "an object", other))),
        })
    }

    /// The text of the field called `name` after its number.
    pub(super) fn text(&self, path: &str, name: &str) -> Result<Option<&str>, Judgement> {
        match self.numbered(name) {
            None | Some(Node::Null) => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text)),
            Some(other) => Err(unfit(&format!("{path}.{name}"), "a text", other)),
        }
    }

    /// As [`Object::text`], for a field that has to be there.
    pub(super) fn required_text(&self, path: &str, name: &str) -> Result<&str, Judgement> {
        self.text(path, name)?
            .ok_or_else(|| Judgement::malformed(format!("{path}.{name}: expected a text, found nothing")))
    }

    /// The decimal of the field called `name` after its number; a percent sign behind it is dropped. `None` and a dash
    /// stand for a missing value.
    pub(super) fn dec(&self, path: &str, name: &str) -> Result<Option<Dec>, Judgement> {
        let text = match self.numbered(name) {
            None | Some(Node::Null) => return Ok(None),
            Some(Node::Text(text)) => text,
            Some(other) => return Err(unfit(&format!("{path}.{name}"), "a decimal", other)),
        };
        if matches!(text.as_str(), "None" | "-") {
            return Ok(None);
        }
        Dec::parse(text.trim_end_matches('%').as_bytes()).map(Some).map_err(|error| {
            let shown: String = text.chars().take(40).collect();
            Judgement::malformed(format!("{path}.{name}: expected {error}, found {shown:?}"))
        })
    }

    /// As [`Object::dec`], for a field that has to be there.
    pub(super) fn required_dec(&self, path: &str, name: &str) -> Result<Dec, Judgement> {
        self.dec(path, name)?
            .ok_or_else(|| Judgement::malformed(format!("{path}.{name}: expected a decimal, found nothing")))
    }

    fn object(&self, fits: impl Fn(&str) -> bool) -> Result<Option<(&str, &Object)>, Judgement> {
        match self.0.iter().find(|(name, _)| fits(name)) {
            None => Ok(None),
            Some((name, Node::Object(object))) => Ok(Some((name, object))),
            Some((name, other)) => Err(unfit(name, "an object", other)),
        }
    }

    fn numbered(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| words(known) == name).map(|(_, node)| node)
    }
}

/// The name without its number: `1a. open (AUD)` becomes `open (AUD)`.
fn words(name: &str) -> &str {
    match name.split_once(['.', ':']) {
        Some((number, rest)) if number.starts_with(|c: char| c.is_ascii_digit()) && rest.starts_with(' ') => {
            rest.trim_start()
        }
        _ => name,
    }
}

fn unfit(path: &str, expected: &str, found: &Node) -> Judgement {
    let found = match found {
        Node::Bool => "a boolean",
        Node::List => "a list",
        Node::Null => "null",
        Node::Object(_) => "an object",
        Node::Text(_) => "a text",
    };
    Judgement::malformed(format!("{path}: expected {expected}, found {found}"))
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Bool)
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Node::List)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Node::Object(Object(fields)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
