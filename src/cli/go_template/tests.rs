use proptest::prelude::*;

use super::*;

fn entry(name: &'static str, value: Value) -> Entry {
    Entry { name, key: name, optional: name == "Tag", value }
}

fn sample() -> Value {
    let labels = [("b", "2"), ("a", "1")].map(|(key, value)| (key.to_owned(), Value::text(value)));
    Value::Record(vec![
        entry("Name", Value::text("r.io/app")),
        entry("Tag", Value::text("")),
        entry("Created", Value::Time(Time::parse("2022-08-09T17:19:53.4737Z").unwrap())),
        entry("Labels", Value::Map(Some(labels.into()))),
        entry("Layers", Value::texts(["x", "y"])),
        entry("Env", Value::List(None)),
    ])
}

fn filled(template: &str) -> Result<String> {
    template.parse::<Template>()?.fill(&sample())
}

/// The right side is what Go prints.
#[test]
fn templates_are_filled_as_go_fills_them() {
    let cases = [
        ("plain", "plain"),
        ("{{.Name}}", "r.io/app"),
        ("{{ .Name }} {{ $.Name }}", "r.io/app r.io/app"),
        ("{{.Labels}}", "map[a:1 b:2]"),
        ("{{.Labels.a}}{{.Labels.none}}", "1<no value>"),
        ("{{index .Labels \"b\"}}{{index .Labels \"none\"}}", "2"),
        ("{{index .Layers 1}}", "y"),
        ("{{.Layers}}{{.Env}}", "[x y][]"),
        ("{{.Created}}", "2022-08-09 17:19:53.4737 +0000 UTC"),
        ("{{range .Layers}}{{.}};{{end}}", "x;y;"),
        ("{{range $i, $e := .Layers}}{{$i}}={{$e}};{{end}}", "0=x;1=y;"),
        ("{{range $key, $value := .Labels}}{{$key}}={{$value}};{{end}}", "a=1;b=2;"),
        ("{{range $it := .Layers}}{{$it}}{{end}}", "xy"),
        ("{{range .Env}}{{.}}{{else}}none{{end}}", "none"),
        ("{{range .Layers}}{{$.Name}};{{end}}", "r.io/app;r.io/app;"),
        ("{{if .Tag}}yes{{else}}no{{end}}", "no"),
        ("{{if eq .Name \"a\"}}1{{else if .Layers}}2{{else}}3{{end}}", "2"),
        ("{{with .Labels}}{{.a}}{{end}}", "1"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "r.io/app"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{println .Name}}", "r.io/app\n"),
        ("{{println .Name 1}}", "r.io/app 1\n"),
        ("{{print 1 2 \"a\" \"b\"}}", "1 2ab"),
        (
            "{{printf \"%-5s|%5s|%.1s|%q|%d|%t|%v|%%\" \"a\" \"b\" \"cd\" \"e\" 6 true .Layers}}",
            "a    |    b|c|\"e\"|6|true|[x y]|%",
        ),
        ("{{len .Layers}}{{len .Name}}{{len .Env}}", "280"),
        ("{{slice .Name 0 4}}{{slice .Name 5}}", "r.ioapp"),
        (
            "{{json .Labels}}{{json .Env}}{{json .Layers}}",
            "{\"a\":\"1\",\"b\":\"2\"}null[\"x\",\"y\"]",
        ),
        ("{{json .Created}}", "\"2022-08-09T17:19:53.4737Z\""),
        ("{{join .Layers \",\"}}{{range split \"a-b\" \"-\"}}<{{.}}>{{end}}", "x,y<a><b>"),
        ("{{upper .Name}}{{lower \"AB\"}}{{title \"ab cd\"}}", "R.IO/APPabAb Cd"),
        ("{{.Name | printf \"%s!\" | upper}}", "R.IO/APP!"),
        ("{{(index .Layers 0) | upper}}{{(.Labels).a}}", "X1"),
        ("{{and .Name .Tag}}{{or .Tag .Name}}{{not .Tag}}", "r.io/apptrue"),
        ("{{ne 1 2}}{{lt 1 2}}{{ge \"a\" \"b\"}}{{eq 1 2 1}}", "truetruefalsetrue"),
        ("a {{- .Name -}} b", "ar.io/appb"),
        ("a {{/* }} */}}b", "a b"),
        ("{{`{{}}`}}{{\"}}\\n\\\"\"}}", "{{}}}}\n\""),
    ];
    for (template, expected) in cases {
        assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
    }
    let all = filled("{{.}}").unwrap();
    assert_eq!(all, "{r.io/app  2022-08-09 17:19:53.4737 +0000 UTC map[a:1 b:2] [x y] []}");
}

#[test]
fn what_is_not_known_is_an_error() {
    let cases = [
        ("{{.Nope}}", "there is no `.Nope`, only .Name, .Tag"),
        ("{{.Name.First}}", "has no `.First`"),
        ("{{nope .Name}}", "there is no function `nope`, only and, eq"),
        ("{{.Created.Format \"2006\"}}", "methods, such as"),
        ("{{template \"x\"}}", "not supported"),
        ("{{.Name", "has no `}}`"),
        ("{{if .Name}}x", "`if` has no `{{end}}`"),
        ("{{end}}", "too many"),
        ("{{}}", "nothing to print"),
        ("{{$x}}", "no variable `$x`"),
        ("{{$x = 1}}", "no variable `$x`"),
        ("{{range .Name}}{{end}}", "no list"),
        ("{{index .Layers 7}}", "`index` cannot take"),
        ("{{printf \"%x\" 1}}", "`printf` cannot take"),
        ("{{printf \"%s\"}}", "`printf` cannot take"),
        ("{{.Name | .Tag}}", "there must be a function"),
        ("{{\"a}}", "has no `}}`"),
        ("{{(.Name}}", "no `)`"),
        ("{{.Name ]}}", "is not understood"),
    ];
    for (template, expected) in cases {
        let error = filled(template).unwrap_err().to_string();
        assert!(error.contains(expected), "{template}: {error}");
    }
}

#[test]
fn json_is_as_go_writes_it() {
    let text = serde_json::to_string(&sample()).unwrap();
    let expected = r#"{"Name":"r.io/app","Created":"2022-08-09T17:19:53.4737Z","Labels":{"a":"1","b":"2"},"Layers":["x","y"],"Env":null}"#;
    assert_eq!(text, expected);
}

#[test]
fn times_keep_their_offset() {
    let cases = [
        (
            "2022-08-09T17:19:53+02:00",
            "2022-08-09 17:19:53 +0200 +0200",
            "2022-08-09T17:19:53+02:00",
        ),
        (
            "2022-08-09T17:19:53.5-05:30",
            "2022-08-09 17:19:53.5 -0530 -0530",
            "2022-08-09T17:19:53.5-05:30",
        ),
        ("1970-01-01T00:00:00Z", "1970-01-01 00:00:00 +0000 UTC", "1970-01-01T00:00:00Z"),
    ];
    for (text, printed, json) in cases {
        let time = Time::parse(text).unwrap();
        assert_eq!(time.to_string(), printed);
        assert_eq!(serde_json::to_value(Value::Time(time)).unwrap(), json);
    }
    assert_eq!(Time::parse("yesterday"), None);
}

#[test]
fn it_is_known_what_a_template_uses() {
    let cases = [
        ("{{.Name}}", false),
        ("{{.RepoTags}}", true),
        ("{{range .RepoTags}}{{.}}{{end}}", true),
        ("{{range .Layers}}{{.}}{{end}}", false),
        ("{{range .Layers}}{{$.RepoTags}}{{end}}", true),
        ("{{json .}}", true),
        ("{{if .Name}}{{len .RepoTags}}{{end}}", true),
        ("{{(index .RepoTags 0)}}", true),
        ("{{range .Layers}}{{else}}{{.RepoTags}}{{end}}", true),
    ];
    for (template, uses) in cases {
        assert_eq!(template.parse::<Template>().unwrap().may_use("RepoTags"), uses, "{template}");
    }
}

proptest! {
    #[test]
    fn no_template_panics(text in "\\PC{0,30}|(\\{\\{-? ?(\\.Name|\\$x|range|if|else|end|with|\\.Layers|index|\"|printf \"%[sdq]\"|[0-9]|\\(|\\)|\\||:=| )* ?-?\\}\\}|a){0,6}") {
        let _ = filled(&text);
    }
}
