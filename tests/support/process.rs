//! Processes of this machine, as /proc shows them.

/// Processes whose environment has this mark, with their command lines. Those that have ended have none.
pub fn processes_of(mark: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let text = |name: &str| {
            let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        if text("environ").split(' ').any(|variable| variable.ends_with(&format!("={mark}"))) {
            found.push((pid, text("cmdline").trim_end().to_owned()));
        }
    }
    found
}
