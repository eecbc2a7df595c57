//! The autoregressive model from which a training is measured.

/// What a teacher is for, besides being measured from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TeacherSettings {
    /// The weight of KL(teacher || model) in the loss; `None`: it is no part of it.
    pub weight: Option<f64>,
}
