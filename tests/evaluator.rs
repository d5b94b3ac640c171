//! The evaluator against an independent one, on random policies: it never says that a request is allowed or denied if the other says otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test that can't go on has failed; counts are printed"
)]

mod oracle_process;
mod policies;
mod random;

use std::collections::BTreeMap;

use bucket_replication_operator::replication::evaluation::{Access, Cause};
use policies::{Case, Generator};
use random::seed;

const CASES: usize = 6000;

#[test]
fn two_evaluators_never_contradict_each_other() {
    let mut generator = Generator::new();
    let cases: Vec<_> = (0..CASES).map(|_| generator.case()).collect();
    let cells: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(number, case)| case.cell(&number.to_string()))
        .collect();
    let allowed = oracle_process::ask(&cells);
    let (mut answers, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    let mut contradictions = vec![];
    for (number, case) in cases.iter().enumerate() {
        let independent = !allowed[&number.to_string()].is_empty();
        let access = case.access();
        let (answer, contradicts) = match &access {
            Access::Allowed => ("allowed", !independent),
            Access::Denied(..) | Access::NotAllowed(_) => ("denied", independent),
            Access::Unknown(cause) => {
                let name = format!("{cause:?}");
                let name = name.split('(').next().unwrap().to_owned();
                *unknown.entry(name).or_insert(0) += 1;
                assert!(is_due(case, cause), "{access:?} in {case:#?}");
                ("unknown", false)
            }
        };
        *answers.entry(answer).or_insert(0) += 1;
        if contradicts {
            contradictions.push(format!(
                "independent: {independent}, ours: {access:?}, {}",
                case.cell("")
            ));
        }
    }
    println!("seed {}: {answers:?}, unknown for {unknown:?}", seed());
    for (what, times) in &generator.made {
        println!("{times:6} {what}");
    }
    assert!(
        contradictions.is_empty(),
        "{} contradictions, such as {}",
        contradictions.len(),
        contradictions[0]
    );
    let certain = answers["allowed"].min(answers["denied"]);
    assert!(certain > CASES / 20, "too few of one answer: {answers:?}");
    let rare: Vec<_> = generator
        .made
        .iter()
        .filter(|(_, times)| **times < 20)
        .collect();
    assert!(rare.is_empty(), "hardly tried: {rare:?}");
}

/// Whether that cause may be given: nothing is unknown of keys that were told.
fn is_due(made: &Case, cause: &Cause) -> bool {
    match cause {
        Cause::Key(key) | Cause::Variable(key) => made
            .hidden
            .iter()
            .any(|hidden| hidden.eq_ignore_ascii_case(key)),
        Cause::VariableWithoutValue(_) | Cause::AnyValueIfExists(_) | Cause::SeveralValues(_) => {
            true
        }
        Cause::PartOfResources
        | Cause::WildcardAcrossColons
        | Cause::NotPrincipal
        | Cause::AllowNotPrincipal
        | Cause::CanonicalUser
        | Cause::Operator(_)
        | Cause::Value(_) => false,
    }
}
