//! Problems as people read them: place, what is wrong, the line with a caret, what would be right.
//!
//! ```text
//! lintel.yaml:4:41: unknown key `intervall`
//!    4 |     health_check: { path: /healthz, intervall: 5s }
//!      |                                     ^^^^^^^^^ did you mean `interval`?
//! ```

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

use super::problem::{MOST_PROBLEMS, Problem, Severity, Spot, is_unprintable};

/// Columns of a source line that are shown; a longer one is cut around the caret.
const WINDOW: usize = 120;

struct Styles {
    place: Style,
    error: Style,
    warning: Style,
    gutter: Style,
    help: Style,
}

const COLOURED: Styles = Styles {
    place: Style::new().bold(),
    error: AnsiColor::Red.on_default().bold(),
    warning: AnsiColor::Yellow.on_default().bold(),
    gutter: AnsiColor::Blue.on_default(),
    help: AnsiColor::Green.on_default(),
};

const PLAIN: Styles = Styles {
    place: Style::new(),
    error: Style::new(),
    warning: Style::new(),
    gutter: Style::new(),
    help: Style::new(),
};

/// With colours as escape sequences; write it through a stream that drops them where they do not belong.
pub fn coloured(problems: &[Problem]) -> String {
    render(problems, &COLOURED)
}

/// Text alone.
pub fn plain(problems: &[Problem]) -> String {
    render(problems, &PLAIN)
}

/// One problem in one line, for a log.
pub fn line(problem: &Problem) -> String {
    let place = problem.spot.as_ref().map(|spot| format!("{}:{}:{}: ", spot.file, spot.line, spot.column));
    let help = problem.help.as_ref().map(|help| format!(" ({help})"));
    format!("{}{}{}", place.unwrap_or_default(), problem.message, help.unwrap_or_default())
}

fn render(problems: &[Problem], styles: &Styles) -> String {
    let mut text = String::new();
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = render_one(&mut text, problem, styles);
    }
    if problems.len() >= MOST_PROBLEMS {
        text.push_str("(there may be more; these come first)\n");
    }
    text
}

fn render_one(text: &mut String, problem: &Problem, styles: &Styles) -> std::fmt::Result {
    let Styles { place, error, warning, .. } = styles;
    if let Some(spot) = &problem.spot {
        write!(text, "{place}{}:{}:{}:{place:#} ", spot.file, spot.line, spot.column)?;
    }
    match problem.severity {
        Severity::Error => writeln!(text, "{error}{}{error:#}", problem.message)?,
        Severity::Warning => writeln!(text, "{warning}warning: {}{warning:#}", problem.message)?,
    }
    match (&problem.spot, &problem.help) {
        (Some(spot), help) => render_line(text, spot, help.as_deref(), styles)?,
        (None, Some(help)) => writeln!(text, "     {}{help}{:#}", styles.help, styles.help)?,
        (None, None) => {}
    }
    for (spot, word) in &problem.also {
        writeln!(text, "  {place}{}:{}:{}:{place:#} {word}", spot.file, spot.line, spot.column)?;
        render_line(text, spot, None, styles)?;
    }
    Ok(())
}

/// The source line with its number, and the caret below it.
fn render_line(text: &mut String, spot: &Spot, help: Option<&str>, styles: &Styles) -> std::fmt::Result {
    let Styles { gutter, error, help: helping, .. } = styles;
    let (line, indent, width) = excerpt(spot);
    writeln!(text, "{gutter}{:>4} |{gutter:#} {line}", spot.line)?;
    let carets = "^".repeat(width);
    write!(text, "{gutter}{:>4} |{gutter:#} {}{error}{carets}{error:#}", "", " ".repeat(indent))?;
    match help {
        Some(help) => writeln!(text, " {helping}{help}{helping:#}"),
        None => writeln!(text),
    }
}

/// The shown part of a line, the columns before the caret, and the caret's width.
fn excerpt(spot: &Spot) -> (String, usize, usize) {
    let start = spot.column - 1;
    let first = if start + spot.width.min(40) > WINDOW { start.saturating_sub(WINDOW / 2) } else { 0 };
    let mut line = String::new();
    let (mut indent, mut width) = (0, 0);
    if first > 0 {
        line.push('…');
        indent = 1;
    }
    let kept = spot.text.chars().enumerate().map(|(at, char)| (at + spot.skipped, char));
    for (at, char) in kept.skip_while(|(at, _)| *at < first) {
        if at >= first + WINDOW {
            line.push('…');
            break;
        }
        let shown = match char {
            '\t' => ' ',
            char if is_unprintable(char) => '\u{fffd}',
            char => char,
        };
        let columns = shown.width().unwrap_or(0);
        if at < start {
            indent += columns;
        } else if at < start + spot.width {
            width += columns;
        }
        line.push(shown);
    }
    (line.trim_end().to_owned(), indent, width.max(1))
}
