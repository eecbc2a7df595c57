//! The page: what the template is given, and the template.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use serde::Serialize;

use super::collect::ReportData;
use super::graph::draw_lanes;
use super::health::HealthVerdict;
use super::markup::{show_line, show_time};
use super::stage::ReportedState;
use super::view::{StageView, WorryView, find_last, parse_series, view_stage};
use crate::store::layout::TOOL_VERSION;
use crate::text::display::{count_noun, format_count, format_duration};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// The words by which a file is known as a report, so that nothing else is replaced by one.
pub(crate) const GENERATOR: &str = "<meta name=\"generator\" content=\"fmflow";

/// What the template is given. Words of others are in one line, and escaped by the template; only `svg` is markup already.
#[derive(Serialize)]
struct PageView {
    tool: &'static str,
    style: &'static str,
    /// Seconds after which a browser loads the page again.
    reload: Option<u64>,
    title: String,
    subtitle: String,
    facts: Vec<(String, String)>,
    notes: Vec<String>,
    worries: Vec<WorryView>,
    checked: usize,
    lanes: String,
    stages: Vec<StageView>,
    machine: Vec<(String, String)>,
}

/// A page, and how many of its checks are not fine.
#[derive(Debug)]
pub(crate) struct ReportPage {
    /// The page.
    pub html: String,
    /// Checks that were made.
    pub checks: usize,
    /// Those that are not fine.
    pub worries: usize,
}

impl ReportPage {
    /// Whether there is something to worry about, in words.
    #[must_use]
    pub(crate) fn describe_worries(&self) -> String {
        match self.worries {
            0 => "nothing to worry about".to_owned(),
            count => format!("{} to look at", count_noun(count, "check")),
        }
    }
}

/// Renders a report as one HTML page.
#[must_use]
pub(crate) fn render_report(data: &ReportData<'_>) -> ReportPage {
    let stages: Vec<StageView> =
        data.stages.iter().enumerate().map(|(at, stage)| view_stage(at, stage, data)).collect();
    let worries = list_worries(data, &stages);
    let inputs: Vec<Vec<usize>> = data.stages.iter().map(|stage| stage.inputs.clone()).collect();
    let classes: Vec<&str> = data.stages.iter().map(|stage| stage.state.word()).collect();
    let view = PageView {
        tool: TOOL_VERSION,
        style: STYLE,
        reload: data.subject.reload.map(|time| time.as_secs()),
        title: show_line(&data.subject.pipeline.name),
        subtitle: describe_subject(data),
        facts: list_facts(data),
        notes: data.notes.iter().map(|note| show_line(note)).collect(),
        checked: stages.iter().map(|stage| stage.checks.len()).sum(),
        worries,
        lanes: draw_lanes(&inputs, &classes),
        stages,
        machine: data
            .subject
            .machine
            .iter()
            .map(|(name, value)| (show_line(name), show_line(value)))
            .collect(),
    };
    ReportPage { checks: view.checked, worries: view.worries.len(), html: render_page(&view) }
}

fn render_page(view: &PageView) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page", TEMPLATE).expect("the template of the page is valid");
    let page = environment.get_template("page").expect("it was just added");
    page.render(Value::from(Serde(view))).expect("the template asks only for what the view has")
}

fn describe_subject(data: &ReportData<'_>) -> String {
    let subject = data.subject;
    let file = show_line(&crate::text::read::display_path(&subject.pipeline.file));
    let settings: String = subject.pipeline.settings.iter().map(|one| format!(" --set {one}")).collect();
    let what = match (&subject.record, &subject.run) {
        (Some((number, _)), _) => format!("run {number} of {file}"),
        (None, _) => file,
    };
    format!("{what}{} · as of {}", show_line(&settings), show_time(&subject.now))
}

fn list_facts(data: &ReportData<'_>) -> Vec<(String, String)> {
    let finished = data.stages.iter().filter(|stage| stage.state == ReportedState::Finished).count();
    let mut facts = vec![("stages finished".to_owned(), format!("{finished} of {}", data.stages.len()))];
    let tokens: f64 = data.stages.iter().filter_map(|stage| find_last(stage, "tokens")).sum();
    let updates: u64 = data.stages.iter().filter_map(parse_series).map(|series| series.updates()).sum();
    if updates > 0 {
        facts.push(("updates".into(), format_count(updates as f64)));
        facts.push(("tokens trained on".into(), format_count(tokens)));
    }
    let seconds: f64 =
        data.stages.iter().filter_map(|stage| data.subject.seconds.get(&stage.fingerprint.0)).sum();
    if seconds > 0.0 {
        facts.push(("time of the stages".into(), format_duration(seconds)));
    }
    if let Some(run) = &data.subject.run {
        let end = match run.code {
            Some(0) => "ended well".to_owned(),
            Some(75) => "was stopped".to_owned(),
            Some(code) => format!("ended with code {code}"),
            None if data.subject.running => "is in progress".to_owned(),
            None => "was killed".to_owned(),
        };
        facts.push((format!("run {}", run.number), format!("{end}, since {}", show_time(&run.started))));
    }
    facts
}

/// The checks that are not fine, the worst first.
fn list_worries(data: &ReportData<'_>, stages: &[StageView]) -> Vec<WorryView> {
    let mut worries: Vec<WorryView> = Vec::new();
    for word in [HealthVerdict::Bad.word(), HealthVerdict::Look.word()] {
        for (stage, view) in data.stages.iter().zip(stages) {
            let own = view.checks.iter().filter(|check| check.verdict == word);
            worries.extend(own.map(|check| WorryView {
                stage: show_line(&stage.name),
                id: check.id.clone(),
                what: check.what.clone(),
                found: check.found.clone(),
                healthy: check.healthy.clone(),
                source: check.source.clone(),
                verdict: check.verdict,
            }));
        }
    }
    worries
}
