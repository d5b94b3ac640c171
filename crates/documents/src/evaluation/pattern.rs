//! Patterns of policies: text with wildcards and policy variables ("IAM policy elements: Variables and tags" in the IAM User Guide).

use std::collections::BTreeSet;

use super::{Cause, Context, Possible};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Character(char),
    /// `?`
    AnyOne,
    /// `*`
    AnyMany,
}

/// A pattern with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

/// What a text of a policy means for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    Pattern(Pattern),
    /// A variable has no value, and no default: nothing matches.
    NoValue(String),
    Unknown(Cause),
}

/// How much of a set of texts a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    All,
    Part,
    None,
}

/// How the text of a policy is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    /// Whether policy variables are replaced: those of version 2012-10-17 are.
    pub(super) variables: bool,
    /// Whether `*` and `?` are wildcards.
    pub(super) wildcards: bool,
    pub(super) context: &'a Context,
}

impl Reading<'_> {
    /// Reads a text. The value of a variable is never read for wildcards.
    pub(super) fn read(self, text: &str) -> Resolved {
        let mut tokens = vec![];
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if let Some((inside, after)) = self.variable(rest) {
                match self.value(inside) {
                    Ok(value) => tokens.extend(value.chars().map(Token::Character)),
                    Err(resolved) => return resolved,
                }
                rest = after;
                continue;
            }
            tokens.push(match character {
                '*' if self.wildcards => Token::AnyMany,
                '?' if self.wildcards => Token::AnyOne,
                literal => Token::Character(literal),
            });
            rest = &rest[character.len_utf8()..];
        }
        Resolved::Pattern(Pattern(tokens))
    }

    /// The text inside of a variable that `text` begins with, and the text after it.
    fn variable(self, text: &str) -> Option<(&str, &str)> {
        text.strip_prefix("${")
            .filter(|_| self.variables)?
            .split_once('}')
    }

    /// The value of a variable: `*`, `?` or `$` themselves, a condition key, or its default.
    fn value(self, inside: &str) -> Result<String, Resolved> {
        if matches!(inside, "*" | "?" | "$") {
            return Ok(inside.to_owned());
        }
        let (key, default) = match inside.split_once(',') {
            Some((key, default)) => {
                let quoted = default.trim().strip_prefix('\'');
                (key, quoted.and_then(|default| default.strip_suffix('\'')))
            }
            None => (inside, None),
        };
        let key = key.trim();
        match self.context.possible(key) {
            Some([Possible::One(value)]) => Ok(value.clone()),
            Some([Possible::Absent]) => match default {
                Some(default) => Ok(default.to_owned()),
                None => Err(Resolved::NoValue(key.to_owned())),
            },
            _ => Err(Resolved::Unknown(Cause::Variable(key.to_owned()))),
        }
    }
}

impl Pattern {
    /// Whether the pattern matches all of `text`.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.after(text).contains(&self.0.len())
    }

    /// How much it matches of the texts that begin with `start`.
    pub(super) fn extent(&self, start: &str) -> Extent {
        let states = self.after(start);
        let takes_all = |state: &usize| {
            let rest = &self.0[*state..];
            !rest.is_empty() && rest.iter().all(|token| *token == Token::AnyMany)
        };
        if states.iter().any(takes_all) {
            Extent::All
        } else if states.is_empty() {
            Extent::None
        } else {
            Extent::Part
        }
    }

    /// Lower case, for texts that are the same in upper and lower case.
    pub(super) fn lowercase(self) -> Self {
        let lower = |token| match token {
            Token::Character(character) => Token::Character(character.to_ascii_lowercase()),
            wildcard => wildcard,
        };
        Self(self.0.into_iter().map(lower).collect())
    }

    /// The parts of a pattern of an ARN: of six, the last has the rest.
    pub(super) fn parts(&self) -> Vec<Self> {
        let colon = |token: &Token| *token == Token::Character(':');
        self.0
            .splitn(6, colon)
            .map(|part| Self(part.to_vec()))
            .collect()
    }

    pub(super) fn is_any(&self) -> bool {
        self.0 == [Token::AnyMany]
    }

    /// The positions in the pattern at which the rest may begin once `text` was matched.
    fn after(&self, text: &str) -> BTreeSet<usize> {
        let mut states = self.skipping([0]);
        for character in text.chars() {
            let next = states.iter().filter_map(|&state| match self.0.get(state)? {
                Token::Character(literal) => (*literal == character).then_some(state + 1),
                Token::AnyOne => Some(state + 1),
                Token::AnyMany => Some(state),
            });
            states = self.skipping(next.collect::<Vec<_>>());
        }
        states
    }

    /// These positions, and those behind each `*` there, which may match nothing.
    fn skipping(&self, states: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut all = BTreeSet::new();
        for mut state in states {
            while all.insert(state) && self.0.get(state) == Some(&Token::AnyMany) {
                state += 1;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Resolved {
        let context = Context::complete()
            .with("aws:PrincipalTag/team", "fin*nce")
            .with_possible("aws:TagKeys", vec![Possible::Several(vec![])]);
        Reading {
            variables: true,
            wildcards: true,
            context: &context,
        }
        .read(text)
    }

    fn pattern(text: &str) -> Pattern {
        match read(text) {
            Resolved::Pattern(pattern) => pattern,
            other => panic_free(&other),
        }
    }

    fn panic_free(other: &Resolved) -> Pattern {
        assert_eq!(format!("{other:?}"), "a pattern");
        Pattern(vec![])
    }

    #[test]
    fn wildcards() {
        for (text, matched, not) in [
            ("a*c", vec!["ac", "abbc", "a*c"], vec!["ab", "bac"]),
            ("a?c", vec!["abc", "a?c"], vec!["ac", "abbc"]),
            ("*", vec!["", "a"], vec![]),
            ("a${*}c", vec!["a*c"], vec!["abc"]),
            ("${$}{x}", vec!["${x}"], vec!["x"]),
            (
                "${aws:principaltag/Team}/*",
                vec!["fin*nce/a"],
                vec!["finance/a"],
            ),
            ("${aws:username, 'nobody'}", vec!["nobody"], vec![""]),
        ] {
            let pattern = pattern(text);
            for one in matched {
                assert!(pattern.matches(one), "{text} does not match {one}");
            }
            for one in not {
                assert!(!pattern.matches(one), "{text} matches {one}");
            }
        }
        assert_eq!(
            read("${aws:username}"),
            Resolved::NoValue("aws:username".into())
        );
        assert_eq!(
            read("${aws:TagKeys}"),
            Resolved::Unknown(Cause::Variable("aws:TagKeys".into()))
        );
    }

    #[test]
    fn extents() {
        for (text, extent) in [
            ("*", Extent::All),
            ("Tax*", Extent::All),
            ("T*", Extent::All),
            ("T*x*", Extent::All),
            ("Tax?*", Extent::Part),
            ("Tax", Extent::Part),
            ("Taxes/*", Extent::Part),
            ("*.tmp", Extent::Part),
            ("Legal*", Extent::None),
            ("Ta", Extent::None),
        ] {
            assert_eq!(pattern(text).extent("Tax"), extent, "{text}");
        }
    }
}
