//! Chart of the bars, as SVG: measures that should be high in one panel, measures that should be low in the other. Owns
//! the layout and the look, in light and in dark; never decides whether a bar is met.

use std::fmt::Write;

use crate::report::Verdict;
use crate::sample::rounded;
use crate::scenario::Bar;
use crate::server::Contestant;

/// Sizes of the page and its parts, in pixels.
const WIDTH: usize = 880;
const MARGIN: usize = 16;
const ROW_HEIGHT: usize = 25;
const PANEL_HEAD: usize = 54;
const LEGEND_HEIGHT: usize = 19;

/// Left end of the bars, and their maximum length.
const BARS_LEFT: usize = 316;
const BARS_WIDTH: f64 = 260.0;
const BAR_HEIGHT: usize = 13;

/// Left end of the words behind the bars.
const WORDS_LEFT: usize = BARS_LEFT + BARS_WIDTH as usize + 14;

/// Share of the allowed value that still fits into the second panel.
const SHARE_MAX: f64 = 1.4;

/// Colours that colour-blind readers can tell apart, on white and on black.
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2933}\
.head{font-size:15px;font-weight:600}.note{font-size:12px;fill:#5f6b76}\
.track{fill:#e9edf1}.met{fill:#2a7fb8}.missed{fill:#d9822b}.bar{fill:#1f2933}\
@media(prefers-color-scheme:dark){text{fill:#dde4ea}.note{fill:#9aa6b2}\
.track{fill:#2a3138}.met{fill:#4aa3df}.missed{fill:#e8994a}.bar{fill:#dde4ea}}";

/// Rows with the same direction and scale.
struct Panel<'a> {
    /// Heading.
    head: &'static str,
    /// Note that says which direction is better.
    note: &'static str,
    /// Verdicts, one a row.
    verdicts: Vec<&'a Verdict>,
    /// Value of the whole width.
    full: f64,
}

/// Draws the chart of verdicts that were measured in this many rounds.
pub(crate) fn draw(verdicts: &[Verdict], rounds: usize) -> String {
    let (more, less): (Vec<_>, Vec<_>) = verdicts.iter().partition(|verdict| matches!(verdict.bar, Bar::AtLeast(..)));
    let most = more.iter().map(|verdict| length(verdict).max(bar_at(verdict))).fold(0.0, f64::max);
    let panels = [
        Panel { head: "How many times as fast", note: "longer is better", verdicts: more, full: 1.1 * most },
        Panel { head: "Share of the limit", note: "shorter is better", verdicts: less, full: SHARE_MAX },
    ];
    page(panels.iter().filter(|panel| !panel.verdicts.is_empty()), rounds)
}

fn page<'a>(panels: impl Iterator<Item = &'a Panel<'a>>, rounds: usize) -> String {
    let mut body = String::new();
    let mut top = MARGIN;
    for panel in panels {
        top = panel.draw(top, &mut body);
    }
    for line in legend(rounds) {
        top += LEGEND_HEIGHT;
        text(MARGIN, top, "note", &line, &mut body);
    }
    let height = top + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>What holdline reaches, beside what it has to</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn legend(rounds: usize) -> [String; 2] {
    [
        "Vertical line: the bar. relay: a chat that stores nothing. SQLite: the same rows, without a server."
            .to_string(),
        format!(
            "Each message is synced to the disk before a client reads it (crash: only written). Medians of {rounds} rounds."
        ),
    ]
}

impl Panel<'_> {
    /// Draws the panel. Returns its lower end.
    fn draw(&self, top: usize, out: &mut String) -> usize {
        text(MARGIN, top + 26, "head", self.head, out);
        text(BARS_LEFT, top + 26, "note", self.note, out);
        let rows = top + PANEL_HEAD - ROW_HEIGHT / 2;
        for (place, verdict) in self.verdicts.iter().enumerate() {
            self.draw_row(verdict, rows + place * ROW_HEIGHT, out);
        }
        rows + self.verdicts.len() * ROW_HEIGHT
    }

    fn draw_row(&self, verdict: &Verdict, top: usize, out: &mut String) {
        let width = |length: f64| (length / self.full).min(1.0) * BARS_WIDTH;
        let class = if verdict.is_met() { "met" } else { "missed" };
        text(MARGIN, top + 11, "", &label(verdict), out);
        rect(BARS_LEFT as f64, top, BARS_WIDTH, BAR_HEIGHT, "track", out);
        rect(BARS_LEFT as f64, top, width(length(verdict)), BAR_HEIGHT, class, out);
        rect(BARS_LEFT as f64 + width(bar_at(verdict)) - 1.0, top - 3, 2.0, BAR_HEIGHT + 6, "bar", out);
        text(WORDS_LEFT, top + 11, "note", &words(verdict), out);
    }
}

/// Length in the scale of its panel: a ratio, or a share of the allowed value.
fn length(verdict: &Verdict) -> f64 {
    match verdict.bar {
        Bar::AtLeast(..) => verdict.held,
        Bar::AtMost(limit, _) | Bar::Under(limit) => verdict.held / limit,
        Bar::Zero if verdict.held == 0.0 => 0.0,
        Bar::Zero => SHARE_MAX,
    }
}

fn bar_at(verdict: &Verdict) -> f64 {
    match verdict.bar {
        Bar::AtLeast(ratio, _) => ratio,
        Bar::AtMost(..) | Bar::Under(_) => 1.0,
        Bar::Zero => 0.0,
    }
}

fn label(verdict: &Verdict) -> String {
    let mut label = verdict.scenario.title.to_string();
    if !verdict.measure.name.is_empty() {
        label = format!("{label}: {}", verdict.measure.name);
    }
    if verdict.who != Contestant::Holdline {
        label = format!("{label}: {}", verdict.who);
    }
    label
}

fn words(verdict: &Verdict) -> String {
    let held = rounded(verdict.held);
    match verdict.bar {
        Bar::AtLeast(ratio, other) => format!("{held} of {other} (at least {ratio})"),
        Bar::AtMost(ratio, others) => {
            let others: Vec<_> = others.iter().map(Contestant::to_string).collect();
            format!("{held} of {} (at most {ratio})", others.join(" + "))
        }
        Bar::Under(limit) => format!("{held} {} (under {limit})", verdict.measure.unit),
        Bar::Zero => format!("{held} {} (none)", verdict.measure.unit),
    }
}

fn text(x: usize, y: usize, class: &str, words: &str, out: &mut String) {
    writeln!(out, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{words}</text>").expect("a string takes all");
}

fn rect(x: f64, y: usize, width: f64, height: usize, class: &str, out: &mut String) {
    writeln!(out, "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"1\" class=\"{class}\"/>")
        .expect("a string takes all");
}
