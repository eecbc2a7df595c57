//! The `pattern` of a string: a regular expression of its letters, as one of how JSON writes them.

use regex_syntax::ast::{self, Ast, ClassSetItem};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};

use super::strings::LETTER;
use super::{refuse, write_bounds, write_text};
use crate::error::{ConstraintError, REGEX_BYTES, refuse_long};

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
    if let Err(error) = refuse_long(pattern, REGEX_BYTES) {
        return Err(refuse(place, error.to_string(), &error.help()));
    }
    let ast = ast::parse::Parser::new().parse(pattern).map_err(|error| unread(&error))?;
    let spelled = spell(pattern, &ast)
        .map_err(|what| refuse(place, format!("{what} is not supported"), "write it as ECMAScript does"))?;
    let hir = regex_syntax::parse(&spelled).map_err(|error| unread(&error))?;
    let refused = || refuse(place, "`^` and `$` within a pattern, `\\b` and bytes are not supported", fix);
    write_searched(&hir).ok_or_else(refused)
}

/// The pattern with `.`, `\d`, `\w` and `\s` spelled as ECMAScript means them, or what it does not know.
fn spell(pattern: &str, ast: &Ast) -> Result<String, String> {
    let mut found = Foreign::default();
    ast::visit(ast, &mut found)?;
    let mut spelled = pattern.to_owned();
    for (span, written) in found.0.iter().rev() {
        spelled.replace_range(span.start.offset..span.end.offset, written);
    }
    Ok(spelled)
}

/// What the library understands otherwise than ECMAScript does, in the order of the text, and how to spell it.
#[derive(Default)]
struct Foreign(Vec<(ast::Span, String)>);

impl Foreign {
    fn spell(&mut self, class: &ast::ClassPerl, within: bool) -> Result<(), String> {
        let letters = match class.kind {
            ast::ClassPerlKind::Digit => "0-9",
            ast::ClassPerlKind::Word => "0-9A-Za-z_",
            ast::ClassPerlKind::Space => BLANKS,
        };
        let written = match (within, class.negated) {
            (true, true) => return Err("a class such as `\\W` within another".to_owned()),
            (true, false) => letters.to_owned(),
            (false, negated) => format!("[{}{letters}]", if negated { "^" } else { "" }),
        };
        self.0.push((class.span, written));
        Ok(())
    }
}

impl ast::Visitor for &mut Foreign {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::ClassPerl(class) => self.spell(class, false)?,
            Ast::Dot(span) => self.0.push((**span, r"[^\n\r\u{2028}\u{2029}]".to_owned())),
            Ast::Flags(_) => return Err("a flag such as `(?i)`".to_owned()),
            Ast::Group(group) => match &group.kind {
                ast::GroupKind::NonCapturing(flags) if !flags.items.is_empty() => {
                    return Err("a flag such as `(?i:a)`".to_owned());
                }
                ast::GroupKind::CaptureName { starts_with_p: true, .. } => {
                    return Err("a name of a group such as `(?P<name>a)`".to_owned());
                }
                _ => {}
            },
            Ast::Assertion(assertion) => match assertion.kind {
                ast::AssertionKind::StartText => return Err("`\\A`".to_owned()),
                ast::AssertionKind::EndText => return Err("`\\z`".to_owned()),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            ClassSetItem::Perl(class) => self.spell(class, true),
            ClassSetItem::Bracketed(_) => Err("a class in brackets within another".to_owned()),
            ClassSetItem::Ascii(_) => Err("a class such as `[:alpha:]`".to_owned()),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), String> {
        Err("`&&`, `--` or `~~` between classes".to_owned())
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
