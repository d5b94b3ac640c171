//! Retired words, held against every message, help text, description, comment and page: the glossary in CONTRIBUTING.md says what to write instead.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

use std::{fs, path::Path};

use bucket_replication_operator::{
    api::{
        condition::{ConditionType, Reason},
        event::EventReason,
    },
    commands::crd::definitions,
    metrics::TABLE,
};
use serde_json::{Value, json};
use strum::{EnumMessage, IntoEnumIterator};

const RETIRED: [&str; 22] = [
    "stand",
    "stands",
    "standing",
    "stood",
    "told",
    "tell",
    "tells",
    "somebody",
    "nobody",
    "anybody",
    "ours",
    "theirs",
    "anew",
    "beside",
    "put right",
    "puts right",
    "let go",
    "lets go",
    "any more",
    "look at",
    "looks at",
    "looked at",
];

/// Folders and files with texts that people read, other than Rust code.
const PAGES: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "charts",
    "crds",
    "deploy",
    "Makefile",
    "tests/tools/tools.mk",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files under a path, with their path from the root and their text.
fn files(path: &Path, found: &mut Vec<(String, String)>) {
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for entry in &entries {
            files(entry, found);
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        found.push((
            path.strip_prefix(root()).unwrap().display().to_string(),
            text,
        ));
    }
}

/// The line without what is code: spans in backticks, and words that are joined by underscores, colons or slashes.
fn prose(line: &str) -> String {
    let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let is_prose = |word: &&str| !word.contains(['_', '/', '=']) && !word.contains("::");
    let words: Vec<_> = outside.split_whitespace().filter(is_prose).collect();
    let letters = |letter: char| {
        if letter.is_alphanumeric() || letter == '-' {
            letter.to_ascii_lowercase()
        } else {
            ' '
        }
    };
    let text: String = words.join(" ").chars().map(letters).collect();
    format!(
        " {} ",
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    )
}

/// The retired words in a line.
fn retired(line: &str) -> Vec<&'static str> {
    let prose = prose(line);
    RETIRED
        .into_iter()
        .filter(|word| prose.contains(&format!(" {word} ")))
        .collect()
}

fn check(place: &str, text: &str, found: &mut Vec<String>) {
    let is_page = Path::new(place)
        .extension()
        .is_some_and(|extension| extension == "md");
    let mut is_code = false;
    for (number, line) in text.lines().enumerate() {
        is_code ^= is_page && line.trim_start().starts_with("```");
        // The glossary's last column has the retired words on purpose.
        let line = if place == "CONTRIBUTING.md" && line.starts_with('|') {
            line.trim_end_matches('|')
                .rsplit_once('|')
                .map_or(line, |(kept, _)| kept)
        } else {
            line
        };
        if !is_code {
            found.extend(
                retired(line)
                    .into_iter()
                    .map(|word| format!("{place}:{}: \"{word}\" in: {}", number + 1, line.trim())),
            );
        }
    }
}

/// What people read of a Rust file outside of its tests: comments and string literals.
fn read_by_people(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap();
    let mut kept = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            kept.push_str(trimmed);
        } else {
            let literals = line.split('"').skip(1).step_by(2);
            kept.push_str(&literals.collect::<Vec<_>>().join(" . "));
            kept.push_str(line.split_once(" // ").map_or("", |(_, comment)| comment));
        }
        kept.push('\n');
    }
    kept
}

#[test]
fn no_retired_word_is_left() {
    let mut found = vec![];
    let mut pages = vec![];
    for page in PAGES {
        files(&root().join(page), &mut pages);
    }
    assert!(pages.len() > 40, "{} pages", pages.len());
    for (place, text) in &pages {
        check(place, text, &mut found);
    }
    let mut code = vec![];
    files(&root().join("src"), &mut code);
    files(&root().join("crates"), &mut code);
    files(&root().join("tests/testbed/src/demo.rs"), &mut code);
    assert!(code.len() > 40, "{} files", code.len());
    for (place, text) in &code {
        check(place, &read_by_people(text), &mut found);
    }
    assert!(
        found.is_empty(),
        "{} retired words:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// Every text in a schema: descriptions of fields, and messages of its rules.
fn texts(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (true, Some(text)) =
                    (name == "description" || name == "message", value.as_str())
                {
                    found.push(text.to_owned());
                }
                texts(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        _ => {}
    }
}

#[test]
fn published_tables_and_schemas_have_none_either() {
    let mut all = vec![];
    for (_, definition) in definitions() {
        texts(&json!(definition), &mut all);
    }
    assert!(all.len() > 80, "{} texts", all.len());
    let of = |message: Option<&'static str>| message.unwrap_or_default().to_owned();
    all.extend(ConditionType::iter().map(|kind| of(kind.get_message())));
    all.extend(
        Reason::iter()
            .flat_map(|reason| [of(reason.get_message()), of(reason.get_detailed_message())]),
    );
    all.extend(
        EventReason::iter()
            .flat_map(|reason| [of(reason.get_message()), of(reason.get_detailed_message())]),
    );
    all.extend(TABLE.iter().map(|(.., help)| (*help).to_owned()));
    let mut found = vec![];
    for text in &all {
        check("a table", text, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_retired_word_is_found_and_code_is_not() {
    assert_eq!(
        retired("What stands in AWS, is Put right."),
        ["stands", "put right"]
    );
    for fine in [
        "a standby understands",
        "`the_rest_is_told` and told_by",
        "standard",
        "write it down",
        "see docs/beside/x",
    ] {
        assert_eq!(retired(fine), Vec::<&str>::new(), "{fine}");
    }
    for word in RETIRED {
        assert!(
            retired(&format!("It {word}, now")).contains(&word),
            "{word}"
        );
    }
    assert_eq!(
        read_by_people("let stands = f(\"is told\"); // anew"),
        "is toldanew\n"
    );
    let mut found = vec![];
    check("x.md", "fine\n```\ntold\n```\ntold", &mut found);
    assert_eq!(found.len(), 1, "{found:?}");
}
