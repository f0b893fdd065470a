use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::*;

const COMPONENT: &str = r#"
(component
  (type $r (resource (rep i32)))
  (component $inner
    (core module $m
      (memory (export "memory") 1)
      (func (export "add") (param i32 i32) (result i32) local.get 0)
      (func (export "len") (param i32 i32) (result i32) local.get 1)
      (func (export "point") (param i32 f64) (result i32) local.get 0)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
    (core instance $i (instantiate $m))
    (type $point' (record (field "x" s32) (field "y" f64)))
    (export $point "point" (type $point'))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
    (func (export "len") (param "text" string) (result u32)
      (canon lift (core func $i "len") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "place") (param "p" $point) (result s32) (canon lift (core func $i "point"))))
  (instance $math (instantiate $inner))
  (export "acme:lib/math@1.2.0" (instance $math))
  (export "acme:lib/other" (instance $math))
  (core module $n (func (export "neg") (param i32) (result i32) local.get 0) (func (export "use") (param i32)))
  (core instance $n (instantiate $n))
  (func (export "neg") (param "a" s32) (result s32) (canon lift (core func $n "neg")))
  (export $handle "handle" (type $r))
  (func (export "use") (param "h" (own $handle)) (canon lift (core func $n "use"))))
"#;

fn prepare_in_component(text: &str, args: &[&str]) -> Result<usize, String> {
    let engine = Engine::default();
    let component = Component::new(&engine, wat::parse_str(COMPONENT).unwrap()).unwrap();
    let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let prepared =
        call_text::parse(text, &args, |_| false).and_then(|call| component::prepare(&component, &engine, &call));
    match prepared {
        Ok(PreparedCall::Component { params, .. }) => Ok(params.len()),
        Ok(PreparedCall::Module { .. }) => panic!("it is a component"),
        Err(error) => Err(error.to_string()),
    }
}

fn prepare_in_module(text: &str, args: &[&str]) -> Result<Vec<Val>, String> {
    let engine = Engine::default();
    let wat = r#"(module
        (func (export "f") (param i32 f64) (result i64) i64.const 0)
        (func (export "many words") (param i64))
        (func (export "show: func() -> ()") (param i32))
        (func (export "v") (param v128))
        (func (export "_start")))"#;
    let module = Module::new(&engine, wat::parse_str(wat).unwrap()).unwrap();
    let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
    match call_text::parse(text, &args, |name| module.get_export(name).is_some())
        .and_then(|call| module::prepare(&module, &call))
    {
        Ok(PreparedCall::Module { params, .. }) => Ok(params),
        Ok(PreparedCall::Component { .. }) => panic!("it is a module"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn function_is_found_by_every_form_of_its_name() {
    for name in [
        "neg(1)",
        " neg ( -1 ) ",
        "math.add(1, 2)",
        "acme:lib/math.add(1, 2)",
        "acme:lib/math.add@1.2.0(1, 2)",
        "acme:lib/math@1.2.0#add(1,2)",
        "acme:lib/math#add(1,2)",
        "math#add(1, 2)",
        "acme:lib/other#len(\"a (b) \\\" ü\")",
        "math.place({x: 1, y: -inf})",
    ] {
        assert!(prepare_in_component(name, &[]).is_ok(), "{name}: {:?}", prepare_in_component(name, &[]));
    }
    assert_eq!(prepare_in_component("math.len", &["no quotes"]), Ok(1));
    assert_eq!(prepare_in_component("math.add", &["1", "2"]), Ok(2));
}

#[test]
fn wrong_call_of_component_is_explained() {
    let deep = format!("neg({}1{})", "[".repeat(5000), "]".repeat(5000));
    let long = format!("math.len(\"{}\")", "x".repeat(2 << 20));
    for (text, expected) in [
        ("add(1, 2)", "several interfaces export a function `add`"),
        ("nge(1)", "did you mean `neg`?"),
        ("nothing-like-it(1)", "it exports `acme:lib/math@1.2.0#add(a: u32, b: u32) -> u32`"),
        ("math@2.0.0#add(1, 2)", "no function `math@2.0.0#add`"),
        ("math.add(1)", "`acme:lib/math@1.2.0#add(a: u32, b: u32) -> u32`: invalid params: missing required param(s)"),
        ("math.add(1, 2, 3)", "more param(s) than expected at character 16, `3`"),
        ("math.add()", "no params provided"),
        ("math.add(1, \"b\")", "at character 13, `\"b\"`"),
        ("math.add(1, -2)", "at character 13, `-2`"),
        ("math.add(1, 99999999999)", "at character 13"),
        ("math.place({x: 1})", "missing field"),
        ("math.len(\"ü\\q\")", "character"),
        ("math.add(1, 2", "cannot parse the call"),
        ("math.add(1, 2) x", "at character 16"),
        ("(1)", "name of a function is missing"),
        ("", "name of a function is missing"),
        ("use(1)", "a resource cannot be written as text"),
        (deep.as_str(), "nesting too deep"),
        (long.as_str(), "more than 1048576"),
    ] {
        let error = prepare_in_component(text, &[]).expect_err(&text.chars().take(80).collect::<String>());
        assert!(error.contains(expected), "{}: {error}", text.chars().take(80).collect::<String>());
        assert!(error.len() < 2000, "{error}");
    }
    let error = prepare_in_component("math.add", &["1"]).unwrap_err();
    assert!(error.contains("it takes 2 arguments, and got 1"), "{error}");
    let error = prepare_in_component("math.add", &["1", "x"]).unwrap_err();
    assert!(error.contains("argument 2") && error.contains("at character 1, `x`"), "{error}");
}

#[test]
fn arguments_of_module_are_numbers() {
    let params = prepare_in_module("f(-1, 2.5)", &[]).unwrap();
    assert!(matches!(params[..], [Val::I32(-1), Val::F64(bits)] if f64::from_bits(bits) == 2.5), "{params:?}");
    assert_eq!(prepare_in_module("f", &["7", "nan"]).unwrap().len(), 2);
    assert_eq!(prepare_in_module("many words", &["1"]).unwrap().len(), 1);
    assert_eq!(prepare_in_module("show: func() -> ()", &["1"]).unwrap().len(), 1);
    for (text, expected) in [
        ("g(1)", "`f(i32, f64) -> i64`"),
        ("f(1)", "missing required param(s)"),
        ("f(1.5, 1)", "at character 3"),
        ("f(\"1\", 1)", "at character 3"),
        ("v(1)", "v128"),
    ] {
        let error = prepare_in_module(text, &[]).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn unknown_name_is_repeated_without_control_characters() {
    let error = prepare_in_module("\u{1b}[31m()", &[]).unwrap_err();
    assert!(!error.contains('\u{1b}'), "{error:?}");
}
