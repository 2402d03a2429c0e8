use super::*;
use proptest::prelude::*;

/// Returns the tests as `RESULT NAME`, then the troubles as `EXPECTED: FOUND`.
fn read(output: &str) -> Vec<String> {
    let Ktap { tests, troubles, .. } = Ktap::parse(output);
    let tests = tests.iter().map(|test| format!("{:?} {}", test.result, test.name));
    tests.chain(troubles.iter().map(|one| format!("{}: {}", one.expected, one.found))).collect()
}

/// The example of ktap.rst, "Example KTAP output".
#[test]
fn the_example_of_the_kernels_document() {
    let output = "KTAP version 1\n1..1\n  KTAP version 1\n  1..3\n    KTAP version 1\n    1..1\n    \
                  # test_1: initializing test_1\n    ok 1 test_1\n  ok 1 example_test_1\n    KTAP version 1\n    \
                  1..2\n    ok 1 test_1 # SKIP test_1 skipped\n    ok 2 test_2\n  ok 2 example_test_2\n    \
                  KTAP version 1\n    1..3\n    ok 1 test_1\n    # test_2: FAIL\n    not ok 2 test_2\n    \
                  ok 3 test_3 # SKIP test_3 skipped\n  not ok 3 example_test_3\nnot ok 1 main_test\n";
    assert_eq!(
        read(output),
        [
            "Ok main_test/example_test_1/test_1",
            "Ok main_test/example_test_1",
            "Skip main_test/example_test_2/test_1",
            "Ok main_test/example_test_2/test_2",
            "Ok main_test/example_test_2",
            "Ok main_test/example_test_3/test_1",
            "NotOk main_test/example_test_3/test_2",
            "Skip main_test/example_test_3/test_3",
            "NotOk main_test/example_test_3",
            "NotOk main_test",
        ]
    );
}

#[test]
fn what_programs_print() {
    for (output, due) in [
        ("", &[][..]),
        ("hello\nok\nnot okay 1\nok 1a\nokay 1\n1..x\n", &[]),
        ("ok 1 a\nnot ok 2 - b c\n1..2\n", &["Ok a", "NotOk b c"]),
        ("not ok 1\n", &["NotOk 1"]),
        ("TAP version 13\nok\nnot ok - b\n", &["Ok 1", "NotOk b"]),
        ("TAP version 13\r\n1..1\r\nok 1 a\r\n", &["Ok a"]),
        (
            "1..4\nok 1 a #SKIP\nnot ok 2 b # SKIP: no\nnot ok 3 # TODO x\nok 4 d # TODO\n",
            &["Skip a", "Skip b", "Todo 3", "Ok d"],
        ),
        (
            "1..3\nnot ok 1 a # XFAIL\nnot ok 2 b # TIMEOUT 45\nok 3 c #SKIPPED # 5\n",
            &["Todo a", "NotOk b", "Ok c #SKIPPED # 5"],
        ),
        // A second program's output follows the first's.
        ("TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..1\nok 1 b\n", &["Ok a", "Ok b"]),
        // A level without a version line.
        ("1..1\n    # Subtest: s\n    1..1\n    ok 1 x\nok 1 s\n", &["Ok s/x", "Ok s"]),
    ] {
        assert_eq!(read(output), due, "{output}");
    }
}

#[test]
fn missing_results_are_found() {
    for (output, due) in [
        ("1..2\nok 1 a\n", &["Ok a", "2 results, as planned: 1"][..]),
        ("1..1\nok 1 a\nok 2 b\n", &["Ok a", "Ok b", "1 results, as planned: 2"]),
        ("1..2\nok 2 b\nok 2 b\n", &["Ok b", "Ok b", "test number 1: 2, b"]),
        ("TAP version 13\n1..2\nok 1 a\nTAP version 13\n", &["Ok a", "2 results, as planned: 1"]),
        ("1..1\n  1..2\n  ok 1 x\nok 1 s\n", &["Ok s/x", "Ok s", "2 results, as planned: 1"]),
        (
            "1..1\n  ok 1 x\n",
            &["Ok x", "the result of the test of these subtests: none", "1 results, as planned: 0"],
        ),
        ("1..1\nBail out! no memory\n", &["all tests: Bail out! no memory", "1 results, as planned: 0"]),
    ] {
        assert_eq!(read(output), due, "{output}");
    }
}

#[test]
fn a_program_that_skips_everything_says_why() {
    let skips = |output: &str| Ktap::parse(output).skips().map(str::to_owned);
    assert_eq!(skips("1..0 # SKIP - no KVM\n").as_deref(), Some("no KVM"));
    assert_eq!(skips("1..1\nok 1 a # SKIP x\n").as_deref(), Some("all of its tests"));
    assert_eq!(skips("1..2\nok 1 a # SKIP x\nok 2 b\n"), None);
    assert_eq!((skips("1..0\n"), skips("hello\n")), (None, None));
}

#[test]
fn the_work_is_bounded() {
    let many = (1..=MOST_TESTS + 5).fold(String::new(), |text, n| format!("{text}ok {n} t\n"));
    let ktap = Ktap::parse(&many);
    assert_eq!(ktap.tests.len(), MOST_TESTS);
    assert_eq!(ktap.troubles, [Trouble { expected: "at most 1000 tests".into(), found: "5 more".into() }]);
    let deep = (0..=MOST_LEVELS).fold(String::new(), |text, n| format!("{text}{:1$}ok 1 t\n", "", n));
    assert!(Ktap::parse(&deep).troubles.iter().any(|one| one.found == "more"));
}

/// A tree of tests: a name, a result, and its subtests.
#[derive(Debug, Clone)]
struct Tree(String, TestResult, Vec<Tree>);

fn trees() -> impl Strategy<Value = Vec<Tree>> {
    let result =
        prop::sample::select(vec![TestResult::Ok, TestResult::NotOk, TestResult::Skip, TestResult::Todo]);
    let leaf =
        ("[a-z][a-z0-9 :.]{0,8}[a-z]", result.clone()).prop_map(|(name, result)| Tree(name, result, vec![]));
    let tree = leaf.prop_recursive(4, 30, 4, move |inner| {
        ("[a-z]{1,8}", result.clone(), prop::collection::vec(inner, 0..4))
            .prop_map(|(name, result, below)| Tree(name, result, below))
    });
    prop::collection::vec(tree, 0..5)
}

/// Prints trees as the kernel does, with lines that are none of KTAP's between.
fn print(trees: &[Tree], depth: usize, noise: &str, out: &mut String) {
    let indent = " ".repeat(2 * depth);
    out.push_str(&format!("{indent}KTAP version 1\n{indent}1..{}\n", trees.len()));
    for (Tree(name, result, below), number) in trees.iter().zip(1..) {
        if !below.is_empty() {
            print(below, depth + 1, noise, out);
        }
        out.push_str(&format!("{indent}# {noise}\n{noise}\n"));
        let (word, directive) = match result {
            TestResult::Ok => ("ok", ""),
            TestResult::NotOk => ("not ok", ""),
            TestResult::Skip => ("ok", " # SKIP why"),
            TestResult::Todo => ("not ok", " # TODO"),
        };
        out.push_str(&format!("{indent}{word} {number} {name}{directive}\n"));
    }
}

fn expected(trees: &[Tree], above: &str, out: &mut Vec<Test>) {
    for Tree(name, result, below) in trees {
        let name = format!("{above}{name}");
        expected(below, &format!("{name}/"), out);
        out.push(Test { name, result: *result });
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read(trees in trees(), noise in "[A-Z!]{1,6}[ a-z]{0,6}") {
        let (mut text, mut due) = (String::new(), vec![]);
        print(&trees, 0, &noise, &mut text);
        expected(&trees, "", &mut due);
        let ktap = Ktap::parse(&text);
        prop_assert_eq!(ktap.tests, due, "{}", text);
        prop_assert_eq!(ktap.troubles, vec![], "{}", text);
    }

    /// Each line that is lost shows.
    #[test]
    fn a_lost_result_is_found(trees in trees(), lost in any::<prop::sample::Index>()) {
        let mut text = String::new();
        print(&trees, 0, "#", &mut text);
        let lines: Vec<_> = text.lines().collect();
        let results: Vec<_> = (0..lines.len()).filter(|n| lines[*n].trim_start().starts_with(['o', 'n'])).collect();
        prop_assume!(!results.is_empty());
        let lost = *lost.get(&results);
        let rest: Vec<_> = lines.iter().enumerate().filter(|(n, _)| *n != lost).map(|(_, line)| *line).collect();
        prop_assert!(!Ktap::parse(&rest.join("\n")).troubles.is_empty(), "{}", rest.join("\n"));
    }

    #[test]
    fn no_text_panics(text in "( {0,3}(ok|not ok|1\\.\\.|KTAP version |TAP version |#| |[0-9]{1,3}|SKIP|\n|é|\\PC)){0,60}") {
        let ktap = Ktap::parse(&text);
        prop_assert!(ktap.tests.len() <= MOST_TESTS && ktap.troubles.len() <= MOST_TESTS);
    }
}
