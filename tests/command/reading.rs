//! Reading what is more or less than one whole checkpoint: folders whose files disagree, shards, several saves in one file; and
//! writing what plain `torch.load` opens.

use std::path::{Path, PathBuf};

use rekindle_testing::fixtures;
use serde_json::Value as Json;

use crate::{refusal, rekindle};

fn fixture(name: &str) -> PathBuf {
    fixtures::path(name)
}

fn inspect(path: &Path, flags: &[&str]) -> std::process::Output {
    let flags: Vec<&Path> = flags.iter().map(Path::new).collect();
    rekindle([&[Path::new("inspect"), path, Path::new("--json")], &flags[..]].concat())
}

fn json(output: &std::process::Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn each_of_several_saves_is_shown_by_its_number() {
    let path = fixture("appended/lzlz.pt");
    let first = inspect(&path, &[]);
    assert_eq!(json(&first)["values"]["n"], 1);
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(
        said.contains("note: ") && said.contains("holds 4 saves") && said.contains("--nth reads another"),
        "{said}"
    );
    for nth in 1..=4 {
        let shown = inspect(&path, &["--nth", &nth.to_string()]);
        assert_eq!((&json(&shown)["values"]["n"], shown.stderr.len()), (&Json::from(nth), 0));
    }
    assert!(refusal(&inspect(&path, &["--nth", "5"])).contains("1 to 4 with --nth"));
}

#[test]
fn a_folder_with_a_loss_says_which_flag_reads_the_rest() {
    let lost = inspect(&fixture("together/hf_lost"), &[]);
    assert!(refusal(&lost).contains("pass --lenient to read what is there"));
    let lenient = inspect(&fixture("together/hf_lost"), &["--lenient"]);
    assert_eq!(json(&lenient)["tensors"].as_array().unwrap().len(), 2);
    let asked = refusal(&inspect(&fixture("together/llama_other"), &[]));
    assert!(asked.contains("with --axis, such as 'gate.weight=0'"), "{asked}");
    let told = inspect(&fixture("together/llama_other"), &["--axis", "gate.weight=0", "--axis", "bias=same"]);
    assert_eq!(json(&told)["container"], "llama");
}

#[test]
fn convert_leaves_out_what_plain_torch_load_refuses_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.pt");
    let convert = |flags: &[&str]| {
        let flags: Vec<&Path> = flags.iter().map(Path::new).collect();
        rekindle([&[Path::new("convert"), &fixture("frameworks/timm/end.pt"), &out], &flags[..]].concat())
    };
    let refused = refusal(&convert(&[]));
    assert!(refused.contains("pass --weights-only") && refused.contains("--allow-objects"), "{refused}");
    let written = convert(&["--weights-only"]);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    assert!(String::from_utf8_lossy(&written.stderr).contains("'args' (<class argparse.Namespace>)"));
    let scanned = rekindle([Path::new("scan"), &out, Path::new("--json")]);
    assert_eq!(json(&scanned)[0]["verdict"], "safe");
    assert_eq!(convert(&["--weights-only", "--allow-objects"]).status.code(), Some(2));
}

#[test]
fn scan_says_no_to_what_nobody_here_knows_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = folder.path().join("unknown.pkl");
    std::fs::write(&unknown, b"\x80\x02cdotenv.cli\nrun_command\n]}\x86R.").unwrap();
    let shown = rekindle([Path::new("scan"), &unknown]);
    assert_eq!(shown.status.code(), Some(1));
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("not known to be safe") && text.contains("nobody here knows what it does"), "{text}");
    let json = json(&rekindle([Path::new("scan"), &unknown, Path::new("--json")]));
    assert_eq!((json[0]["verdict"].as_str(), json[0]["safe"].as_bool()), (Some("unknown"), Some(false)));
    assert_eq!(json[0]["names"][0]["verdict"], "unknown");
}
