//! OpenAI's API: from a body to a request, and from answers to a body.

mod asked;
mod bodies;
mod formats;
mod gaps;
mod laws;

pub(crate) use asked::{Asked, Form, find_model, parse_request};
pub(crate) use bodies::{
    Naming, WholeAnswer, render_answers, render_begin, render_end, render_model, render_models, render_piece,
    render_usage,
};
pub(crate) use laws::LawTeller;
