//! Text with fields of a record in it, such as `content/{blob_id}`.

/// Text with fields of a record in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPattern(Vec<PatternPart>);

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternPart {
    Text(String),
    Field(String),
}

impl FieldPattern {
    /// Reads a pattern: every `{field}` stands for the value of a field.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let inside = from.strip_prefix('{').ok_or("a `}` closes nothing")?;
            let (field, after) = inside.split_once('}').ok_or("a `{` is not closed")?;
            if field.is_empty() || field.contains('{') {
                return Err("`{` and `}` do not enclose the name of a field".to_owned());
            }
            parts.extend((!before.is_empty()).then(|| PatternPart::Text(before.to_owned())));
            parts.push(PatternPart::Field(field.to_owned()));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| PatternPart::Text(rest.to_owned())));
        Ok(Self(parts))
    }

    /// The names of the fields in it.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            PatternPart::Field(name) => Some(name.as_str()),
            PatternPart::Text(_) => None,
        })
    }

    /// The text with the values that `value` gives for its fields.
    ///
    /// # Errors
    /// The first that `value` gives.
    pub(crate) fn fill<E>(&self, value: impl Fn(&str) -> Result<String, E>) -> Result<String, E> {
        let part = |part: &PatternPart| match part {
            PatternPart::Text(text) => Ok(text.clone()),
            PatternPart::Field(name) => value(name),
        };
        self.0.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_replaced_by_their_values() {
        let pattern = FieldPattern::parse("a/{x}-{meta.y}.gz").unwrap();
        assert_eq!(pattern.fields().collect::<Vec<_>>(), ["x", "meta.y"]);
        let upper = |name: &str| Ok::<_, ()>(name.to_uppercase());
        assert_eq!(pattern.fill(upper), Ok("a/X-META.Y.gz".to_owned()));
        assert_eq!(pattern.fill(|name| Err::<String, _>(name.len())), Err(1));
    }
}
