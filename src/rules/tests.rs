use expect_test::{Expect, expect};

use super::*;

fn parsed(text: &str) -> ConfigFile {
    ConfigFile::parse(text, &run_keys()).unwrap()
}

fn run_keys() -> Vec<String> {
    ["brokers", "batch_rows", "topics"].map(str::to_owned).to_vec()
}

fn refused(text: &str, expected: &Expect) {
    let problems = ConfigFile::parse(text, &run_keys()).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

fn rules(text: &str, flags: &[(&str, &str)]) -> Rules {
    let file = parsed(text);
    let flag = |(pattern, template): &(&str, &str)| {
        (Pattern::new(*pattern), Template::new(template).unwrap())
    };
    Rules {
        targets: flags.iter().map(flag).collect(),
        tables: file.tables,
        sources: file.sources,
        deletes: DeletePolicy::Hard,
        deleted_at_column: "gone_at".to_owned(),
    }
}

fn name(schema: &str, table: &str) -> SourceName {
    let (server, schema, table) = ("dbserver1".into(), schema.into(), table.into());
    SourceName { server, database: Some("shop".into()), schema, table }
}

const FILE: &str = r#"
[table."public.*"]
target = "mirror.{table}"
deletes = "ignore"
[table."public.orders"]
key = ["id"]
deletes = "soft"
mode = "append"
keyless = "match"
after_refused = "block"
[table."public.orders".columns]
exclude = ["secret"]
rename = { a = "b" }
[source."dbserver1"]
time_precision_mode = "adaptive"
unavailable_value_placeholder = "?"
"#;

#[test]
fn the_most_specific_section_decides_alone() {
    let rules = rules(FILE, &[]);

    let orders = rules.for_table(&name("public", "orders")).unwrap();
    assert_eq!(orders.target, None);
    assert_eq!(orders.key, Some(vec!["id".to_owned()]));
    assert_eq!(orders.deletes, Deletes::Soft("gone_at".to_owned()));
    assert_eq!((orders.mode, orders.keyless), (Mode::Append, Keyless::Match));
    assert!(!orders.columns.takes("secret") && orders.columns.takes("a"));
    assert_eq!((orders.columns.target_name("a"), orders.columns.target_name("c")), ("b", "c"));

    let users = rules.for_table(&name("public", "users")).unwrap();
    assert_eq!(users.target.unwrap().to_string(), "mirror.users");
    assert_eq!(users.deletes, Deletes::Ignore);

    let other = rules.for_table(&name("inventory", "users")).unwrap();
    assert_eq!((other.target, other.deletes), (None, Deletes::Hard));
    assert_eq!(rules.source("dbserver1").unwrap().time_precision_mode.as_deref(), Some("adaptive"));
    assert_eq!(&*rules.placeholder("dbserver1"), "?");
    assert_eq!(&*rules.placeholder("other"), "__debezium_unavailable_value");
}

#[test]
fn a_flags_first_match_decides_about_the_name_whatever_the_file_says() {
    let flags = [("public.us*", "a.{table}"), ("public.*", "b.{table}"), ("*", "c.{table}")];
    let rules = rules(FILE, &flags);
    let target =
        |schema, table| rules.for_table(&name(schema, table)).unwrap().target.unwrap().to_string();

    assert_eq!(target("public", "users"), "a.users");
    assert_eq!(target("public", "orders"), "b.orders");
    assert_eq!(target("inventory", "users"), "c.users");
    let orders = rules.for_table(&name("public", "orders")).unwrap();
    assert_eq!(orders.deletes, Deletes::Soft("gone_at".to_owned()));
}

#[test]
fn included_columns_are_the_only_ones() {
    let rules = rules("[table.'*'.columns]\ninclude = ['a']", &[]);
    let columns = rules.for_table(&name("public", "orders")).unwrap().columns;
    assert!(columns.takes("a") && !columns.takes("b"));
}

#[test]
fn unknown_keys_are_told_all_at_once_with_the_nearest_known_one() {
    refused(
        "[run]\nbroker = 'x'\nbatch-rows = 1\n[table.'public.orders']\ntraget = 'x'\nfoo = 1\n\
         [table.'public.orders'.columns]\nexcludes = []\n[source.'s']\ntime_mode = 'x'\n[sources]",
        &expect![[r#"
            sources is no known key; the nearest is "source"
            run.batch-rows is no known key; the nearest is "batch_rows"
            run.broker is no known key; the nearest is "brokers"
            table."public.orders".foo is no known key; the nearest is "mode"
            table."public.orders".traget is no known key; the nearest is "target"
            table."public.orders".columns.excludes is no known key; the nearest is "exclude"
            source."s".time_mode is no known key; the nearest is "time_precision_mode""#]],
    );
}

#[test]
fn wrong_values_are_told_with_what_is_known() {
    refused(
        "[run]\ntopics = 1.5\n[table.'a']\ndeletes = 'harder'\n[table.'b']\ntarget = '{tabel}'\n\
         [table.'c']\nkey = []\n[table.'c'.columns]\ninclude = ['a']\nexclude = ['b']\n\
         [table.'d']\nkey = 'id'\n[source.'s']\nhstore_handling_mode = 'jsonb'\n\
         time_precision_mode = 'x'",
        &expect![[r#"
            run.topics must be text, a number or a list of them
            table."a" does not fit: unknown variant `harder`, expected one of `hard`, `soft`, `ignore`, in `deletes`
            table."b" does not fit: "{tabel}" asks for {tabel}; known are {database}, {schema}, {table}, in `target`
            table."c".key must name a column
            table."c".columns has exclude and include: one of them must go
            table."d" does not fit: invalid type: string "id", expected a sequence, in `key`
            source."s".time_precision_mode "x" must be one of adaptive, adaptive_time_microseconds, connect, isostring, microseconds, nanoseconds, structured
            source."s".hstore_handling_mode "jsonb" must be one of json, map"#]],
    );
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    refused(
        "[run\n",
        &expect!["the config file is no TOML at line 1: unclosed table, expected `]`"],
    );
    refused("run = 1\n", &expect!["run must be a section"]);
}

#[test]
fn only_a_target_that_is_written_out_for_several_lets_tables_meet() {
    let meet = |text: &str, one: SourceName, other: SourceName| {
        let rules = rules(&format!("[table.{text}"), &[]);
        assert_eq!(rules.let_meet(&one, &other), rules.let_meet(&other, &one));
        rules.let_meet(&one, &other)
    };
    let (a, b) = (|| name("a", "t"), || name("b", "t"));
    let elsewhere = || SourceName { server: "dbserver2".to_owned(), ..a() };

    assert!(meet("'*.t']\ntarget = 'm.t'", a(), b()));
    assert!(meet("'*.t']\ntarget = 'm.t'", a(), elsewhere()));
    assert!(meet("'a.t']\ntarget = 'm.t'\n[table.'b.t']\ntarget = 'm.t'", a(), b()));
    assert!(!meet("'a.t']\ntarget = 'm.t'", a(), elsewhere()), "a rule for one table");
    assert!(!meet("'a.t']\ntarget = 'b.t'", a(), b()), "a rule for one of both");
    assert!(!meet("'*']\ntarget = 'm.{table}'", a(), b()), "a name that is made up");
    assert!(!meet("'a.t']\ntarget = 'm.t'\n[table.'b.t']\ntarget = 'n.t'", a(), b()));
    assert!(!meet("'*.t']\ndeletes = 'soft'", a(), b()));
}

#[test]
fn a_flag_lets_tables_meet_as_a_section_does() {
    let (a, b) = (name("a", "t"), name("b", "t"));
    let section = "[table.'*']\ntarget = 'm.{table}'";
    assert!(rules(section, &[("*.t", "m.t")]).let_meet(&a, &b));
    assert!(!rules("[table.'*']\ntarget = 'm.t'", &[("*", "m.{table}")]).let_meet(&a, &b));
}
