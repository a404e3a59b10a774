//! Metrics in the text format of Prometheus, as a scraper reads them.

use std::collections::BTreeSet;

/// One scrape.
#[derive(Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
    /// Families with a HELP line that says something.
    pub explained: BTreeSet<String>,
    /// Families with a TYPE line.
    pub typed: BTreeSet<String>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self { samples: Vec::new(), explained: BTreeSet::new(), typed: BTreeSet::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                if !help.trim().is_empty() {
                    metrics.explained.insert(name.to_owned());
                }
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                metrics.typed.insert(rest.split(' ').next().unwrap_or_default().to_owned());
            } else if !line.starts_with('#') {
                metrics.samples.push(Sample::parse(line));
            }
        }
        metrics
    }

    /// The sum of all samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is any sample of this name with these labels.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.of(name, labels).next().is_some()
    }

    fn of<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let has =
                |(name, value): &(&str, &str)| sample.labels.iter().any(|(n, v)| n == name && v == value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// Every label that any sample has.
    pub fn label_names(&self) -> BTreeSet<&str> {
        self.samples.iter().flat_map(|sample| sample.labels.iter().map(|(name, _)| name.as_str())).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let wrong = || panic!("not a sample: {line}");
        let Some((name, rest)) = line.split_once('{') else {
            let (name, value) = line.split_once(' ').unwrap_or_else(wrong);
            return Self { name: name.into(), labels: Vec::new(), value: value.parse().expect("a number") };
        };
        let (labels, value) = rest.rsplit_once("} ").unwrap_or_else(wrong);
        Self {
            name: name.into(),
            labels: parse_labels(labels),
            value: value.trim().parse().expect("a number"),
        }
    }
}

/// `a="b",c="d\"e"`.
fn parse_labels(text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                c => value.push(c),
            }
        }
        labels.push((name.trim_start_matches(',').to_owned(), value));
        rest = &after[end..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let text = "# HELP a_total How many.\n# TYPE a_total counter\na_total{x=\"1\",y=\"p\\\"q\"} 2\na_total{x=\"2\",y=\"\"} 3\nb 4.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_total", &[]), 5.0);
        assert_eq!(metrics.sum("a_total", &[("y", "p\"q")]), 2.0);
        assert_eq!(metrics.sum("b", &[]), 4.5);
        assert!(metrics.has("b", &[]) && !metrics.has("a_total", &[("x", "3")]));
        assert!(metrics.explained.contains("a_total") && metrics.typed.contains("a_total"));
    }
}
