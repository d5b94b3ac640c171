//! Condition blocks: all operators and all of their keys have to hold, and of each key one value ("Conditions with multiple context keys or
//! values" in the IAM User Guide).

use serde_json::Value;

use super::{
    Cause, Context, Possible, Truth,
    operator::{Operator, Set, Test},
};
use crate::policy::strings;

/// Whether the conditions of a block hold.
pub(super) fn holds(block: Option<&Value>, variables: bool, context: &Context) -> Truth {
    let Some(block) = block else {
        return Truth::Yes;
    };
    let Some(operators) = block.as_object() else {
        return Truth::Unknown(Cause::Value(block.to_string()));
    };
    Truth::all(operators.iter().flat_map(|(name, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(|(key, expected)| {
            let Some(operator) = Operator::parse(name) else {
                return Truth::Unknown(Cause::Operator(name.clone()));
            };
            let condition = Condition {
                operator,
                key,
                expected: values(expected),
                variables,
                context,
            };
            condition.holds()
        })
    }))
}

/// The values of a policy: booleans and numbers mean what they are written as.
fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(values).collect(),
        Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
        text => strings(text).into_iter().map(ToOwned::to_owned).collect(),
    }
}

/// One key of one operator.
struct Condition<'a> {
    operator: Operator,
    key: &'a str,
    expected: Vec<String>,
    variables: bool,
    context: &'a Context,
}

impl Condition<'_> {
    /// Whether it holds for all values that the key may have in the request, or for none.
    fn holds(&self) -> Truth {
        let unknown = || Truth::Unknown(Cause::Key(self.key.to_owned()));
        let Some(possible) = self.context.possible(self.key) else {
            return unknown();
        };
        let mut answers = possible.iter().map(|value| self.holds_for(value));
        let Some(first) = answers.next() else {
            return unknown();
        };
        if answers.all(|answer| answer == first) {
            first
        } else {
            unknown()
        }
    }

    fn holds_for(&self, value: &Possible) -> Truth {
        if self.operator.test == Test::Null {
            return self.is_null(*value == Possible::Absent);
        }
        if *value == Possible::Absent && self.operator.if_exists {
            return match self.operator.set {
                Some(Set::ForAnyValue) => {
                    Truth::Unknown(Cause::AnyValueIfExists(self.key.to_owned()))
                }
                Some(Set::ForAllValues) | None => Truth::Yes,
            };
        }
        match (self.operator.set, value) {
            (None, Possible::Absent) => self.operator.negated.into(),
            (None, Possible::One(actual)) => self.is_satisfied_by(actual),
            (None, Possible::Several(_)) => {
                Truth::Unknown(Cause::SeveralValues(self.key.to_owned()))
            }
            (Some(Set::ForAllValues), value) => Truth::all(
                each(value)
                    .iter()
                    .map(|actual| self.is_satisfied_by(actual)),
            ),
            (Some(Set::ForAnyValue), value) => Truth::any(
                each(value)
                    .iter()
                    .map(|actual| self.is_satisfied_by(actual)),
            ),
        }
    }

    fn is_null(&self, absent: bool) -> Truth {
        Truth::any(self.expected.iter().map(
            |expected| match expected.to_ascii_lowercase().as_str() {
                "true" => absent.into(),
                "false" => (!absent).into(),
                _ => Truth::Unknown(Cause::Value(expected.clone())),
            },
        ))
    }

    /// Whether any of the expected values is met, or none if the operator is negated.
    fn is_satisfied_by(&self, actual: &str) -> Truth {
        let (test, negated) = (self.operator.test, self.operator.negated);
        let met = Truth::any(self.expected.iter().map(|expected| {
            let met = test.is_met(expected, actual, self.variables, self.context);
            if negated { met } else { met.of_positive() }
        }));
        if negated { !met } else { met }
    }
}

/// The values of a key, for an operator that tests each.
fn each(value: &Possible) -> &[String] {
    match value {
        Possible::Absent => &[],
        Possible::One(one) => std::slice::from_ref(one),
        Possible::Several(several) => several,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> Context {
        let one = |value: &str| Possible::One(value.to_owned());
        Context::partial()
            .with("aws:PrincipalAccount", "111111111111")
            .without("aws:SourceVpce")
            .with_possible("aws:SecureTransport", vec![Possible::Absent, one("true")])
            .with_possible(
                "aws:TagKeys",
                vec![Possible::Several(vec!["a".into(), "b".into()])],
            )
            .with_possible("aws:PrincipalOrgPaths", vec![Possible::Several(vec![])])
    }

    fn block(block: Value) -> Truth {
        holds(Some(&block), true, &context())
    }

    fn unknown(key: &str) -> Truth {
        Truth::Unknown(Cause::Key(key.to_owned()))
    }

    #[test]
    fn operators_keys_and_values_are_joined() {
        let ours = json!({"aws:principalaccount": ["222222222222", "111111111111"]});
        assert_eq!(block(json!({"StringEquals": ours})), Truth::Yes);
        assert_eq!(block(json!({"StringNotEquals": ours})), Truth::No);
        let both = json!({"StringEquals": {"aws:PrincipalAccount": "111111111111", "aws:PrincipalOrgID": "o-1"}});
        assert_eq!(block(both), unknown("aws:PrincipalOrgID"));
        let decided =
            json!({"StringEquals": {"aws:PrincipalAccount": "2", "aws:PrincipalOrgID": "o-1"}});
        assert_eq!(block(decided), Truth::No);
        assert_eq!(
            block(json!({"StringLikes": {"a": "b"}})),
            Truth::Unknown(Cause::Operator("StringLikes".into()))
        );
    }

    #[test]
    fn a_variable_without_a_value_matches_nothing() {
        let expected = json!({"aws:PrincipalAccount": "${aws:SourceVpce}"});
        assert_eq!(block(json!({"StringEquals": expected})), Truth::No);
        let without = Cause::VariableWithoutValue("aws:SourceVpce".into());
        assert_eq!(
            block(json!({"StringNotEquals": expected})),
            Truth::Unknown(without)
        );
        let unknown =
            json!({"StringEquals": {"aws:PrincipalAccount": ["2", "${aws:PrincipalOrgID}"]}});
        let variable = Cause::Variable("aws:PrincipalOrgID".into());
        assert_eq!(block(unknown), Truth::Unknown(variable));
    }

    #[test]
    fn a_key_that_is_absent() {
        for (operator, holds) in [
            ("StringEquals", Truth::No),
            ("StringNotEquals", Truth::Yes),
            ("StringEqualsIfExists", Truth::Yes),
            ("StringNotEqualsIfExists", Truth::Yes),
            ("ForAllValues:StringEquals", Truth::Yes),
            ("ForAllValues:StringNotEquals", Truth::Yes),
            ("ForAnyValue:StringEquals", Truth::No),
            ("ForAnyValue:StringNotEquals", Truth::No),
            (
                "ForAnyValue:StringEqualsIfExists",
                Truth::Unknown(Cause::AnyValueIfExists("aws:SourceVpce".into())),
            ),
            ("NumericNotEquals", Truth::Yes),
        ] {
            let condition = json!({operator: {"aws:SourceVpce": "vpce-1"}});
            assert_eq!(block(condition), holds, "{operator}");
        }
        assert_eq!(
            block(json!({"Null": {"aws:SourceVpce": "true"}})),
            Truth::Yes
        );
        assert_eq!(block(json!({"Null": {"aws:SourceVpce": false}})), Truth::No);
        assert_eq!(
            block(json!({"Null": {"aws:PrincipalAccount": true}})),
            Truth::No
        );
    }

    #[test]
    fn a_key_that_may_be_absent_is_decided_if_it_makes_no_difference() {
        let secure = |operator: &str| block(json!({operator: {"aws:SecureTransport": "false"}}));
        assert_eq!(secure("Bool"), Truth::No);
        assert_eq!(secure("BoolIfExists"), unknown("aws:SecureTransport"));
        assert_eq!(secure("Null"), unknown("aws:SecureTransport"));
    }

    #[test]
    fn a_key_with_several_values() {
        let keys =
            |operator: &str, values: Value| block(json!({operator: {"aws:TagKeys": values}}));
        for (operator, values, holds) in [
            (
                "ForAllValues:StringEquals",
                json!(["a", "b", "c"]),
                Truth::Yes,
            ),
            ("ForAllValues:StringEquals", json!(["a"]), Truth::No),
            ("ForAllValues:StringNotEquals", json!(["c"]), Truth::Yes),
            ("ForAllValues:StringNotEquals", json!(["a"]), Truth::No),
            ("ForAnyValue:StringEquals", json!("a"), Truth::Yes),
            ("ForAnyValue:StringEquals", json!("c"), Truth::No),
            ("ForAnyValue:StringNotEquals", json!("a"), Truth::Yes),
            ("ForAnyValue:StringNotEquals", json!(["a", "b"]), Truth::No),
        ] {
            assert_eq!(keys(operator, values.clone()), holds, "{operator} {values}");
        }
        assert_eq!(
            keys("StringEquals", json!("a")),
            Truth::Unknown(Cause::SeveralValues("aws:TagKeys".into()))
        );
        let none = |operator: &str| block(json!({operator: {"aws:PrincipalOrgPaths": "o-1/*"}}));
        assert_eq!(none("ForAllValues:StringLike"), Truth::Yes);
        assert_eq!(none("ForAnyValue:StringLike"), Truth::No);
    }
}
