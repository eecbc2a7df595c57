//! Finds where an answer stops, in text that comes in pieces.

/// Looks for strings that end an answer. Which one ends it does not depend on the pieces: the one that is complete first, and of
/// several that are, the longest.
#[derive(Clone, Debug, Default)]
pub struct StopFinder {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop.
    held: String,
    found: bool,
}

impl StopFinder {
    /// A finder for these strings, none of which is empty.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), found: false }
    }

    /// Whether a stop was found.
    #[must_use]
    pub fn is_found(&self) -> bool {
        self.found
    }

    /// Takes the next piece; returns the text that certainly belongs to the answer.
    pub fn push(&mut self, piece: &str) -> String {
        if self.found {
            return String::new();
        }
        self.held.push_str(piece);
        let kept = match self.find_stop() {
            Some(start) => {
                self.found = true;
                start
            }
            None => self.held.len() - self.measure_doubtful(),
        };
        let rest = self.held.split_off(kept);
        std::mem::replace(&mut self.held, if self.found { String::new() } else { rest })
    }

    /// The text that was held back, now that nothing follows.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop begins that is complete first.
    fn find_stop(&self) -> Option<usize> {
        let places = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        places.min().map(|(_, start)| start)
    }

    /// Bytes at the end that may begin a stop.
    fn measure_doubtful(&self) -> usize {
        let begins = |length: &usize| {
            let start = self.held.len() - length;
            self.held.is_char_boundary(start)
                && self.stops.iter().any(|stop| stop.len() > *length && stop.starts_with(&self.held[start..]))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0).saturating_sub(1);
        (1..=longest.min(self.held.len())).rev().find(begins).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(stops: &[String], pieces: &[String]) -> (String, bool) {
        let mut finder = StopFinder::new(stops.to_vec());
        let mut text: String = pieces.iter().map(|piece| finder.push(piece)).collect();
        text += &finder.finish();
        (text, finder.is_found())
    }

    #[test]
    fn a_stop_is_found_across_pieces() {
        let cut = |stops: &[&str], pieces: &[&str]| {
            let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            cut(&own(stops), &own(pieces))
        };
        assert_eq!(cut(&["\n\n"], &["a\n", "\nb"]), ("a".into(), true));
        assert_eq!(cut(&["\n\n"], &["a\n", "b\n"]), ("a\nb\n".into(), false));
        assert_eq!(cut(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
        assert_eq!(cut(&["abc", "b"], &["abc"]), ("a".into(), true));
        assert_eq!(cut(&["bc", "abc"], &["xabc"]), ("x".into(), true));
        assert_eq!(cut(&["äö"], &["xä", "ö"]), ("x".into(), true));
        assert_eq!(cut(&[], &["x", "y"]), ("xy".into(), false));
    }

    #[test]
    fn text_that_cannot_begin_a_stop_is_given_at_once() {
        let mut finder = StopFinder::new(vec!["END".into()]);
        assert_eq!([finder.push("aE"), finder.push("N"), finder.push("x")], ["a", "", "ENx"]);
    }

    proptest! {
        #[test]
        fn the_end_does_not_depend_on_the_pieces(
            stops in prop::collection::vec("[abä]{1,3}", 0..3), pieces in prop::collection::vec("[abä]{0,3}", 0..6)
        ) {
            let whole = pieces.concat();
            let found = cut(&stops, &pieces);
            prop_assert_eq!(&found, &cut(&stops, std::slice::from_ref(&whole)));
            prop_assert!(whole.starts_with(&found.0));
            prop_assert!(stops.iter().all(|stop| !found.0.contains(stop.as_str())));
            prop_assert_eq!(found.1, stops.iter().any(|stop| whole.contains(stop.as_str())));
        }
    }
}
