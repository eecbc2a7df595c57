//! Tests of templates: Qwen3's layout, rewritten for these tests, and the corners of Jinja that published templates rely on.

use super::*;
use serde_json::json;

/// Qwen3's layout: the turns after the last question get a `<think>` block, earlier ones lose theirs.
pub(in crate::data) const THINKING: &str = include_str!("thinking.jinja");

pub(in crate::data) fn template(source: &str) -> ChatTemplate {
    ChatTemplate::parse("test", source, vec![("eos_token".into(), "<|im_end|>".into())]).unwrap()
}

fn render(source: &str, variables: Json) -> Result<String, String> {
    let Json::Object(variables) = variables else { panic!("an object") };
    let options = TemplateOptions { variables, ..TemplateOptions::default() };
    let messages = [json!({"role": "user", "content": " hi\n"})];
    template(source).render(&messages, &options).map_err(|e| e.to_string())
}

#[test]
fn python_methods_and_slices_work() {
    for (source, expected) in [
        ("{{ messages[0].content.strip() }}", "hi"),
        ("{{ 'a</t>b'.split('</t>')[-1] }}|{{ '\n\nx\n'.lstrip('\n').rstrip('\n') }}", "b|x"),
        ("{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('x') }} {{ none }}", "True False None"),
        ("{{ messages[::-1][0].role }}{{ 'abc'[:2] }}", "userab"),
        ("{{ messages[0].nothing is defined }} {{ messages[0].get('content', '') }}", "False  hi\n"),
        (
            "{% set ns = namespace(n=1) %}\n{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}\n{{ ns.n }}",
            "4",
        ),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"),
        ("{{ eos_token }}{{ bos_token }}", "<|im_end|>"),
        ("{% if tools %}x{% endif %}{{ tools is none }}", "True"),
        ("{{ strftime_now is defined }}", "False"),
    ] {
        assert_eq!(render(source, json!({})).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn blocks_leave_no_lines() {
    let source = "  {% for m in messages %}\n    {{- m.role }}\n  {% endfor %}\n\nend\n";
    assert_eq!(render(source, json!({})).as_deref(), Ok("user\n\nend"));
}

#[test]
fn generation_tags_only_group() {
    let source =
        "{%- generation -%} a {{ x }} {%- endgeneration %}{% generation %}b{% endgeneration %} {{ '{%' }}";
    assert_eq!(render(source, json!({"x": "generation"})).as_deref(), Ok("a generationb {%"));
}

#[test]
fn json_is_that_of_python() {
    let value = json!({"b": [1, 2.5, true, null], "a": {"é<'\"\\": "x\n\u{7f}"}, "e": [], "o": {}});
    let flat = r#"{"b": [1, 2.5, true, null], "a": {"é<'\"\\": "x\n"}, "e": [], "o": {}}"#
        .replace("\\n", "\\n\u{7f}");
    assert_eq!(render("{{ v | tojson }}", json!({ "v": value })), Ok(flat));
    let pretty = "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}";
    assert_eq!(
        render("{{ v | tojson(indent=2) }}", json!({"v": {"a": [1, 2], "b": []}})).as_deref(),
        Ok(pretty)
    );
}

#[test]
fn refusals_say_why() {
    for (source, what) in [
        ("{{ raise_exception('no system turn') }}", "no system turn"),
        ("{{ strftime_now('%Y') }}", "strftime_now"),
        ("{{ messages[0].a.b }}", "undefined"),
        ("{% include 'x' %}", "x"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
            "takes too long",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ] {
        let error = render(source, json!({})).unwrap_err();
        assert!(error.contains(what), "{source}: {error}");
    }
    let parse = |source| ChatTemplate::parse("test", source, Vec::new()).unwrap_err().to_string();
    assert!(parse("{% if x %}").contains("cannot be parsed"));
}

#[test]
fn a_template_is_found_where_transformers_looks() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let found = || {
        ChatTemplate::open(folder.path())
            .map(|t| t.map(|t| t.render(&[], &TemplateOptions::default()).unwrap()))
    };
    assert_eq!(found().unwrap(), None);
    write("tokenizer_config.json", r#"{"chat_template": null}"#);
    assert_eq!(found().unwrap(), None);
    write(
        "tokenizer_config.json",
        r#"{"eos_token": {"content": "E"}, "chat_template": "one {{ eos_token }}"}"#,
    );
    assert_eq!(found().unwrap().as_deref(), Some("one E"));
    let several =
        r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#;
    write("tokenizer_config.json", several);
    assert_eq!(found().unwrap().as_deref(), Some("d"));
    write("tokenizer_config.json", r#"{"chat_template": 3}"#);
    assert!(found().is_err());
    write("tokenizer_config.json", r#"{"chat_template": "config"}"#);
    write("chat_template.jinja", "file");
    assert_eq!(found().unwrap().as_deref(), Some("file"));
}
