//! The program in the answer of a conversation.

/// Name and version of the rule of [`find_block`]: a change is another rule.
pub(super) const FENCED_BLOCK: &str = "fenced-block/1";

/// The first fenced block of Python, or of no named language, behind the model's thoughts (what ends with `</think>`): the lines between
/// its fences, or up to the end if it is not closed. An answer without one is a program as a whole.
pub(super) fn find_block(answer: &str) -> &str {
    let answer = answer.rsplit_once("</think>").map_or(answer, |(_, answer)| answer);
    let (mut start, mut open) = (0, None);
    for line in answer.split_inclusive('\n') {
        let fence = line.trim().strip_prefix("```");
        match (fence, open) {
            (Some(_), Some((from, true))) => return &answer[from..start],
            (Some(_), Some((_, false))) => open = None,
            (Some(language), None) => open = Some((start + line.len(), is_python(language))),
            (None, _) => {}
        }
        start += line.len();
    }
    match open {
        Some((from, true)) => &answer[from..],
        _ => answer,
    }
}

fn is_python(language: &str) -> bool {
    let word = language.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    ["", "python", "python3", "py"].contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_of_python_is_the_program() {
        let cases = [
            (
                "Here:\n```python\ndef f():\n    pass\n```\nUse:\n```python\nf()\n```\n",
                "def f():\n    pass\n",
            ),
            ("```\nx = 1\n```", "x = 1\n"),
            ("  ```Python title=\"a\"\nx = 1\n  ```", "x = 1\n"),
            ("```bash\npip install x\n```\n```py\nx = 1\n```", "x = 1\n"),
            ("```python\nx = 1\n", "x = 1\n"),
            ("```python", ""),
            ("x = 1", "x = 1"),
            ("```bash\nls\n```\n", "```bash\nls\n```\n"),
            ("<think>\n```python\nno\n```\n</think>\n```python\nyes\n```", "yes\n"),
            ("", ""),
        ];
        for (answer, expected) in cases {
            assert_eq!(find_block(answer), expected, "{answer:?}");
        }
    }
}
