//! Texts that are kept in files: compared by tests, and written anew by `make update`.

use std::{fs, path::Path};

/// Compares `text` with the file at `path`, a path from the root of the repository; with `UPDATE=1` it writes the file.
pub fn compare(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == text,
        "{path} is not what the code makes: look at it, and run make update\n--- kept\n{kept}\n--- made\n{text}"
    );
}
