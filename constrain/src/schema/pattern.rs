//! The `pattern` of a string: a regular expression of its letters, as one of how JSON writes them.

use regex_syntax::ast::{self, Ast, ClassSetItem};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};

use super::strings::LETTER;
use super::{refuse, write_bounds, write_text};
use crate::error::ConstraintError;

/// Blanks, as ECMAScript has them.
const BLANKS: &str =
    r"\t\n\x0b\x0c\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// The expression of the strings in which a pattern is found.
pub(super) fn write(pattern: &str, place: &str) -> Result<String, ConstraintError> {
    let fix = "write a regular expression without look-around, such as `^[a-z]+$`";
    let unread = |error: &dyn std::fmt::Display| {
        let line = error.to_string().lines().last().unwrap_or_default().to_owned();
        refuse(place, format!("it cannot be read: {line}"), fix)
    };
    let ast = ast::parse::Parser::new().parse(pattern).map_err(|error| unread(&error))?;
    let spelled = spell_classes(pattern, &ast).ok_or_else(|| {
        refuse(place, "a class such as `\\W` within another is not supported", "write out its letters")
    })?;
    let hir = regex_syntax::parse(&spelled).map_err(|error| unread(&error))?;
    let refused = || refuse(place, "`^` and `$` within a pattern, `\\b` and bytes are not supported", fix);
    write_searched(&hir).ok_or_else(refused)
}

/// The pattern with `\d`, `\w` and `\s` spelled as ECMAScript means them.
fn spell_classes(pattern: &str, ast: &Ast) -> Option<String> {
    let mut found = PerlClasses::default();
    ast::visit(ast, &mut found).ok()?;
    let mut spelled = pattern.to_owned();
    for (class, within) in found.0.iter().rev() {
        let letters = match class.kind {
            ast::ClassPerlKind::Digit => "0-9",
            ast::ClassPerlKind::Word => "0-9A-Za-z_",
            ast::ClassPerlKind::Space => BLANKS,
        };
        let written = match (within, class.negated) {
            (true, true) => return None,
            (true, false) => letters.to_owned(),
            (false, negated) => format!("[{}{letters}]", if negated { "^" } else { "" }),
        };
        spelled.replace_range(class.span.start.offset..class.span.end.offset, &written);
    }
    Some(spelled)
}

/// Classes such as `\d`, and whether they stand within brackets, in the order of the text.
#[derive(Default)]
struct PerlClasses(Vec<(ast::ClassPerl, bool)>);

impl ast::Visitor for &mut PerlClasses {
    type Output = ();
    type Err = ();

    fn finish(self) -> Result<(), ()> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        if let Ast::ClassPerl(class) = ast {
            self.0.push(((**class).clone(), false));
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), ()> {
        if let ClassSetItem::Perl(class) = item {
            self.0.push((class.clone(), true));
        }
        Ok(())
    }
}

/// Strings in which an expression is found: from the first letter on or to the last only if it says so.
fn write_searched(hir: &Hir) -> Option<String> {
    let one = std::slice::from_ref(hir);
    let parts = match hir.kind() {
        HirKind::Alternation(branches) => {
            let written: Vec<String> = branches.iter().map(write_searched).collect::<Option<_>>()?;
            return Some(format!("(?:{})", written.join("|")));
        }
        HirKind::Capture(group) => return write_searched(&group.sub),
        HirKind::Concat(parts) => parts.as_slice(),
        _ => one,
    };
    let is = |part: Option<&Hir>, look: Look| part.is_some_and(|part| *part.kind() == HirKind::Look(look));
    let (begins, stops) = (is(parts.first(), Look::Start), is(parts.last(), Look::End));
    let inner = &parts[usize::from(begins)..parts.len() - usize::from(stops)];
    let inner: String = inner.iter().map(write_letters).collect::<Option<_>>()?;
    let (before, behind) =
        [begins, stops].map(|bound| if bound { String::new() } else { format!("{LETTER}*") }).into();
    Some(format!("{before}{inner}{behind}"))
}

/// An expression of letters as one of how JSON writes them; `None` for what it cannot say.
fn write_letters(hir: &Hir) -> Option<String> {
    Some(match hir.kind() {
        HirKind::Empty => String::new(),
        HirKind::Literal(literal) => {
            let quoted = write_text(std::str::from_utf8(&literal.0).ok()?);
            quoted[1..quoted.len() - 1].to_owned()
        }
        HirKind::Class(Class::Unicode(class)) => write_class(class),
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => return None,
        HirKind::Repetition(repetition) => {
            let bounds = write_bounds(repetition.min.into(), repetition.max.map(Into::into));
            format!("(?:{}){bounds}", write_letters(&repetition.sub)?)
        }
        HirKind::Capture(group) => write_letters(&group.sub)?,
        HirKind::Concat(parts) => parts.iter().map(write_letters).collect::<Option<_>>()?,
        HirKind::Alternation(parts) => {
            let parts: Vec<String> = parts.iter().map(write_letters).collect::<Option<_>>()?;
            format!("(?:{})", parts.join("|"))
        }
    })
}

/// One letter of a class: those that JSON writes as an escape apart.
fn write_class(class: &ClassUnicode) -> String {
    let range = |from, to| ClassUnicodeRange::new(from, to);
    let escaped = ClassUnicode::new([range('\0', '\x1f'), range('"', '"'), range('\\', '\\')]);
    let (mut plain, mut special) = (class.clone(), class.clone());
    plain.difference(&escaped);
    special.intersect(&escaped);
    let letters = special.iter().flat_map(|range| range.start()..=range.end());
    let mut parts: Vec<String> = letters
        .map(|letter| {
            let quoted = write_text(&letter.to_string());
            quoted[1..quoted.len() - 1].to_owned()
        })
        .collect();
    if !plain.ranges().is_empty() {
        parts.insert(0, Hir::class(Class::Unicode(plain)).to_string());
    }
    // A class of nothing matches nothing.
    if parts.is_empty() { "[a&&b]".to_owned() } else { format!("(?:{})", parts.join("|")) }
}
