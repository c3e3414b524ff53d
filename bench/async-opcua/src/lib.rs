//! What the server and the client of the benchmark share: command lines and the CPU time of the process.

use std::collections::HashMap;

/// Bytes. The crate's own limit of 327,675 is less than one publish response of 10,000 values.
pub const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// CPU seconds, user and system, that this process took so far.
pub fn cpu_seconds() -> f64 {
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut used) }, 0);
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(used.ru_utime) + seconds(used.ru_stime)
}

/// `--name value` and `--name` on the command line.
pub struct Options(HashMap<String, String>);

impl Options {
    /// Take those of this process.
    pub fn given() -> Self {
        let mut found = HashMap::new();
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_else(|| panic!("{word}: no option"));
            let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
            found.insert(name.to_owned(), value);
        }
        Self(found)
    }

    /// Whether it was given at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its text, unless it is absent or empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|text| !text.is_empty()).cloned()
    }

    /// Its number, or `absent`.
    pub fn number(&self, name: &str, absent: f64) -> f64 {
        self.text(name).map_or(absent, |text| text.parse().expect(name))
    }
}
