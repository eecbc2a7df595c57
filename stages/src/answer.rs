//! Answers what people ask: from a prompt to a text. Stages and commands use it alike, so that the same request and seed give the
//! same bytes everywhere.

mod answering;
mod choose;
mod count;
mod disagreement;
mod laws;
mod listening;
mod open_text;
mod orders;
mod request;
mod score;
mod trials;
mod twin;

pub(crate) use answering::{Asker, SAMPLE_STRIDE, answer_prompt, measure_prompt_twin, warm_up};
pub(crate) use choose::choose_length;
pub(crate) use count::count_prompt_tokens;
pub(crate) use disagreement::{compare_completions, measure_disagreement};
pub(crate) use open_text::open_text_model;
pub(crate) use request::display_prompt;
pub(crate) use twin::measure_twins;
