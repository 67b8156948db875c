//! `rekindle resume --run DIR`: a run whose checkpoints are kept goes on from them, with every bit of the run that was not stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rekindle::models::init::Init;
use rekindle::models::zoo::gpt2::Flavour;
use rekindle::models::zoo::{Gpt2, Gpt2Config};
use rekindle::prelude::Device;
use rekindle::random::{Generator, randint};
use rekindle::recorder::diff::Tolerance;
use rekindle::train::optim::AdamWOptions;
use rekindle::{Checkpoint, Optimizer, Run};
use rekindle_testing::{fixtures, scratch};

use crate::resume::resume;
use crate::{command, refusal, run_pt};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stderr)
}

fn begin(arguments: &[&str], folder: &Path) -> Child {
    let all = [Path::new("resume"), &run_pt()].map(Path::to_path_buf);
    let all = all.into_iter().chain(arguments.iter().map(PathBuf::from));
    command(all).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The digits run's folder, what it writes and its log.
const KEPT: [&str; 8] = ["--run", "kept", "--log", "log.jsonl", "--save", "out.pt", "--steps", "69"];

/// So many steps that nobody stops: what they write.
fn uncut(folder: &Path, steps: &str) -> [Vec<u8>; 2] {
    let folder = folder.join("whole");
    std::fs::create_dir(&folder).unwrap();
    succeeded(&resume(&run_pt(), &["--log", "log.jsonl", "--save", "out.pt", "--steps", steps], &folder));
    written(&folder)
}

/// The checkpoint and the log.
fn written(folder: &Path) -> [Vec<u8>; 2] {
    ["out.pt", "log.jsonl"].map(|name| std::fs::read(folder.join(name)).unwrap())
}

/// Any moment is as good as another: the clock has a say in it, and none in the verdict. `REKINDLE_KILLS=50` kills as often.
#[test]
fn a_run_that_is_killed_at_any_moment_goes_on_by_the_same_command_and_ends_with_the_same_bits() {
    let kills: usize = std::env::var("REKINDLE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let folder = scratch();
    // So many that the last kill finds the run at work, too: a kill costs it some steps that it makes again.
    let all = (8 * kills).max(69).to_string();
    let whole = uncut(folder.path(), &all);
    let arguments = [&KEPT[..6], &["--steps", &all, "--every", "4", "--keep", "2", "--best", "accuracy"]].concat();
    let log = folder.path().join("log.jsonl");
    let lines = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let mut generator = Generator::new(3);
    // Some steps after the last moment, and a part of one.
    let steps = randint(&mut generator, 0, 10, kills).unwrap();
    let parts = randint(&mut generator, 0, 15_000, kills).unwrap();
    let (mut amid, mut ended) = (0, 0);
    for (steps, part) in steps.into_iter().zip(parts) {
        let until = lines() + usize::try_from(steps).unwrap();
        let mut child = begin(&arguments, folder.path());
        while lines() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(u64::try_from(part).unwrap()));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => amid += 1,
            Some(0) => ended += 1,
            Some(code) => panic!("status {code}: {}", text(&output.stderr)),
        }
    }
    println!("{amid} killed at work, {ended} had ended before");
    let said = succeeded(&resume(&run_pt(), &arguments, folder.path()));
    assert!(written(folder.path()) == whole, "{said}");
    let kept: Vec<String> = std::fs::read_dir(folder.path().join("kept"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("step-"))
        .collect();
    let end = format!("step-{}.pt", 299 + all.parse::<usize>().unwrap());
    assert!((2..=3).contains(&kept.len()) && kept.contains(&end), "{kept:?}");
}

/// The command after so many lines of its log. It runs until it is asked to end.
fn after_lines(arguments: &[&str], folder: &Path, count: usize, act: impl FnOnce(u32)) -> Output {
    let child = begin(arguments, folder);
    let log = folder.join("log.jsonl");
    let lines = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    while lines() < count {
        std::thread::sleep(Duration::from_millis(2));
    }
    act(child.id());
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_step_saves_and_ends_the_process_as_it_asks() {
    use std::os::unix::process::ExitStatusExt as _;

    let folder = scratch();
    let endless = ["--run", "kept", "--log", "log.jsonl", "--save", "out.pt", "--steps", "1000000"];
    let mut at = 0;
    for (signal, number, name) in [("-INT", 2, "SIGINT"), ("-TERM", 15, "SIGTERM")] {
        let output = after_lines(&endless, folder.path(), at + 3, |process| {
            assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
        });
        let said = text(&output.stderr);
        assert_eq!(output.status.signal(), Some(number), "{said}");
        let log = fixtures::lines(&folder.path().join("log.jsonl"));
        at = log.len();
        let step = log[at - 1]["step"].as_i64().unwrap();
        assert_eq!(step, 299 + i64::try_from(at).unwrap());
        assert!(said.contains(&format!("{name} ended the run after step {step}")), "{said}");
        assert!(folder.path().join(format!("kept/step-{step}.pt")).exists());
        assert!(!folder.path().join("out.pt").exists());
    }
    let steps = (at + 2).to_string();
    let same = ["--run", "kept", "--log", "log.jsonl", "--save", "out.pt", "--steps", &steps];
    let said = succeeded(&resume(&run_pt(), &same, folder.path()));
    assert!(said.contains(&format!("the run goes on from kept/step-{}.pt, after step {0}", 299 + at)), "{said}");
    let own = written(folder.path());
    assert!(own == uncut(folder.path(), &steps));
}

#[test]
fn a_run_that_is_at_its_end_says_so_and_one_that_is_not_replaces_nothing() {
    let folder = scratch();
    let arguments = [&KEPT[..6], &["--steps", "5", "--every", "2"]].concat();
    succeeded(&resume(&run_pt(), &arguments, folder.path()));
    let before = std::fs::read(folder.path().join("out.pt")).unwrap();
    let said = succeeded(&resume(&run_pt(), &arguments, folder.path()));
    assert!(said.contains("at its end already, and out.pt is what it came to"), "{said}");
    assert_eq!(std::fs::read(folder.path().join("out.pt")).unwrap(), before);
    assert_eq!(fixtures::lines(&folder.path().join("log.jsonl")).len(), 5);

    std::fs::write(folder.path().join("out.pt"), "precious").unwrap();
    let output = resume(&run_pt(), &arguments, folder.path());
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.lines().last().unwrap().contains("out.pt: the file exists already; pass --overwrite"), "{said}");
    std::fs::remove_file(folder.path().join("out.pt")).unwrap();
    succeeded(&resume(&run_pt(), &arguments, folder.path()));
    assert_eq!(std::fs::read(folder.path().join("out.pt")).unwrap(), before);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_taken() {
    let folder = scratch();
    let arguments = |steps| [&KEPT[..6], &["--every", "2", "--steps", steps]].concat();
    succeeded(&resume(&run_pt(), &arguments("4"), folder.path()));
    let path = folder.path().join("kept/step-303.pt");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(folder.path().join("out.pt")).unwrap();
    let said = succeeded(&resume(&run_pt(), &arguments("6"), folder.path()));
    assert!(said.contains("warning: kept/step-303.pt") && said.contains("checksum"), "{said}");
    assert!(said.contains("goes on from kept/step-302.pt, after step 302"), "{said}");
    assert!(folder.path().join("kept/step-303.pt.damaged").exists());
    let own = written(folder.path());
    assert!(own == uncut(folder.path(), "6"));

    for entry in std::fs::read_dir(folder.path().join("kept")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pt") {
            std::fs::write(path, "PK").unwrap();
        }
    }
    std::fs::remove_file(folder.path().join("out.pt")).unwrap();
    let output = resume(&run_pt(), &arguments("6"), folder.path());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("a run does not begin anew by itself"), "{said}");
    assert!(!folder.path().join("out.pt").exists());
}

#[test]
fn a_run_is_kept_in_other_formats_and_goes_on_from_each_with_the_same_bits() {
    let folder = scratch();
    let whole = uncut(folder.path(), "6");
    for (format, ending) in [("safetensors", "safetensors"), ("burnpack", "bpk"), ("dcp", "dcp")] {
        let said = |more: &[&str]| {
            let common = [&KEPT[..6], &["--keep-format", format, "--every", "2", "--best", "loss"]].concat();
            resume(&run_pt(), &[&common, more].concat(), folder.path())
        };
        succeeded(&said(&["--steps", "4"]));
        let kept = folder.path().join("kept");
        let names = [format!("last.{ending}"), format!("best.{ending}"), format!("step-303.{ending}")];
        assert!(names.iter().all(|name| kept.join(name).exists()), "{format}");
        let last = Checkpoint::open(kept.join(&names[0])).unwrap();
        assert!(last.value("model_state_dict.fc1.weight").is_ok() && last.get::<i64>("epoch").is_ok(), "{format}");

        // One bit of the weights, in the newest.
        let mut path = kept.join(&names[2]);
        if path.is_dir() {
            path = path.join("__0_0.distcp");
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        std::fs::remove_file(folder.path().join("out.pt")).unwrap();
        let said = succeeded(&said(&["--steps", "6"]));
        let damaged = format!("warning: kept/step-303.{ending}");
        assert!(said.contains(&damaged) && said.contains("after step 302"), "{said}");
        assert!(written(folder.path()) == whole, "{format}");
        std::fs::remove_file(folder.path().join("out.pt")).unwrap();
        std::fs::remove_file(folder.path().join("log.jsonl")).unwrap();
        std::fs::remove_dir_all(kept).unwrap();
    }
    let output = resume(&run_pt(), &[&KEPT[..6], &["--keep-format", "npz", "--steps", "4"]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_folder_of_a_runs_checkpoints_is_resumed_and_planned_from_its_newest() {
    let folder = scratch();
    std::fs::copy(fixtures::digits("digits.csv.gz"), folder.path().join("digits.csv.gz")).unwrap();
    succeeded(&resume(&run_pt(), &[&KEPT[..6], &["--steps", "30"]].concat(), folder.path()));
    let settings = "model = 'digits'\ndata = '../digits.csv.gz'\ninput_shape = [1, 8, 8]\ndivide_by = 16.0\n\
                    held_back = 360\nbatch_size = 64\nschedule_per = 'epoch'\n";
    std::fs::write(folder.path().join("kept/rekindle.toml"), settings).unwrap();
    let plan = command(["plan", "kept"]).current_dir(folder.path()).output().unwrap();
    let said = text(&plan.stdout);
    assert!(plan.status.success() && said.contains("epoch 14, step 329"), "{said} {}", text(&plan.stderr));
    assert!(said.contains("goes on at the very batch"), "{said}");

    succeeded(&resume(Path::new("kept"), &["--steps", "10"], folder.path()));
    let whole = ["--save", "whole.pt", "--steps", "40"];
    succeeded(&resume(&run_pt(), &whole, folder.path()));
    let read = |name: &str| Checkpoint::open(folder.path().join(name)).unwrap();
    let apart = rekindle::recorder::diff::compare(&read("kept-resumed.pt"), &read("whole.pt"), Tolerance::default());
    assert!(apart.unwrap().is_empty());

    // Of another run: the weights are others.
    let other = folder.path().join("other.pt");
    let checkpoint = read("whole.pt");
    checkpoint.save(&other).unwrap();
    std::fs::copy(fixtures::digits("rekindle.toml"), folder.path().join("rekindle.toml")).unwrap();
    let arguments = ["--run", "kept", "--save", "no.pt", "--steps", "2"];
    let output = resume(
        &other,
        &[&arguments[..], &["--expect", fixtures::digits("expect.jsonl").to_str().unwrap()]].concat(),
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("began from another checkpoint"), "{}", text(&output.stderr));
}

/// From another folder, too, and for more steps than were asked for.
#[cfg(unix)]
#[test]
fn the_folder_alone_goes_on_as_the_run_was_started_and_what_is_said_anew_wins() {
    let [folder, elsewhere] = [scratch(), scratch()];
    let whole = uncut(folder.path(), "69");
    let arguments = [&KEPT[..], &["--every", "4"]].concat();
    after_lines(&arguments, folder.path(), 9, |process| {
        assert!(Command::new("kill").args(["-TERM", &process.to_string()]).status().unwrap().success());
    });
    assert!(!folder.path().join("out.pt").exists());
    let kept = folder.path().join("kept");
    let planned = command([Path::new("plan"), &kept]).output().unwrap();
    assert!(
        planned.status.success() && text(&planned.stdout).contains("CosineAnnealingLR at"),
        "{}",
        text(&planned.stderr)
    );
    let said = succeeded(&resume(&kept, &["--every", "5"], elsewhere.path()));
    assert!(
        said.contains("the run goes on as it was started: rekindle resume") && said.contains("--every 4"),
        "{said}"
    );
    assert!(said.contains("--every is 5 now, and was 4 when the run was started"), "{said}");
    assert!(written(folder.path()) == whole, "{said}");

    // An archive has its file's name inside.
    let more = folder.path().join("out.pt");
    std::fs::remove_file(&more).unwrap();
    succeeded(&resume(&kept, &["--steps", "3", "--save", more.to_str().unwrap()], elsewhere.path()));
    let further = folder.path().join("further");
    std::fs::create_dir(&further).unwrap();
    assert!(std::fs::read(&more).unwrap() == uncut(&further, "72")[0]);
    assert_eq!(fixtures::lines(&folder.path().join("log.jsonl")).len(), 72);

    std::fs::write(kept.join("started.json"), r#"{"folder": "/", "arguments": ["gone.pt", "--model", "digits"]}"#)
        .unwrap();
    let said = refusal(&resume(&kept, &[], elsewhere.path()));
    assert!(said.contains("the run began from /gone.pt, which is not there any more"), "{said}");
}

/// In three processes, and in one: the very file, and the same log.
fn goes_on_in_its_folder(checkpoint: &Path, arguments: &[&str], steps: [&str; 3], folder: &Path) {
    let run = |name: &str, steps: &str, more: &[&str]| {
        // An archive has its file's name inside.
        let [save, log] = ["out.pt", "log.jsonl"].map(|file| format!("{name}/{file}"));
        std::fs::create_dir_all(folder.join(name)).unwrap();
        let _ = std::fs::remove_file(folder.join(&save));
        let own = ["--save", &save, "--log", &log, "--steps", steps];
        succeeded(&resume(checkpoint, &[arguments, &own, more].concat(), folder))
    };
    run("whole", steps[2], &[]);
    for (nth, steps) in steps.into_iter().enumerate() {
        let said = run("cut", steps, &["--run", "kept", "--every", "2"]);
        assert_eq!(said.contains("the run goes on from kept/step-"), nth > 0, "{said}");
    }
    for file in ["out.pt", "log.jsonl"] {
        let read = |name: &str| std::fs::read(folder.join(name).join(file)).unwrap();
        assert!(read("cut") == read("whole"), "{file}");
    }
}

#[test]
fn random_blocks_of_tokens_and_several_models_go_on_in_a_folder_to_the_very_file() {
    let folder = scratch();
    let tokens = folder.path().join("tokens.bin");
    let drawn = randint(&mut Generator::new(5), 0, 7, 300).unwrap();
    let bytes: Vec<u8> = drawn.iter().flat_map(|&token| u16::try_from(token).unwrap().to_le_bytes()).collect();
    std::fs::write(&tokens, bytes).unwrap();
    let sizes = Gpt2Config {
        vocab_size: 7,
        n_positions: 6,
        n_embd: 8,
        n_layer: 1,
        n_head: 2,
        ..Gpt2Config::small(Flavour::NanoGpt)
    };
    let sizes = sizes.with_dropout(0.1);
    let network = Gpt2::new(&sizes, &mut Init::seeded(&Device::flex().autodiff(), 5)).unwrap();
    let optimizer = Optimizer::adamw(&network, AdamWOptions::default()).unwrap();
    let start = folder.path().join("start.pt");
    Run::start(network, optimizer).save(&start).unwrap();
    let model = "nanogpt(vocab_size=7, block_size=6, n_embd=8, n_layer=1, n_head=2, dropout=0.1)";
    let blocks = ["--model", model, "--data", "tokens.bin", "--block-size", "5", "--batch-size", "3", "--seed", "3"];
    goes_on_in_its_folder(&start, &blocks, ["3", "4", "9"], folder.path());

    let folder = scratch();
    let batches = fixtures::path("several/two_batches.safetensors");
    let both = ["--model", "A=mlp", "--model", "modelB_state_dict=mlp", "--config", "A.sizes=6,8,3"];
    let both =
        [&both[..], &["--config", "modelB_state_dict.sizes=6,5,3", "--batches", batches.to_str().unwrap()]].concat();
    goes_on_in_its_folder(&fixtures::path("several/two.pt"), &both, ["1", "3", "6"], folder.path());
}

#[test]
fn flags_about_the_folder_need_it_and_are_keys_of_the_settings() {
    let folder = scratch();
    let said = refusal(&resume(&run_pt(), &["--every", "2"], folder.path()));
    assert!(said.contains("--every is about the folder of --run DIR"), "{said}");
    let said = refusal(&resume(&run_pt(), &["--run", "kept", "--best", "accuracy", "--held-back", "0"], folder.path()));
    assert!(
        said.contains("--best accuracy is taken on samples held back") && !folder.path().join("kept").exists(),
        "{said}"
    );

    for name in ["digits.csv.gz", "expect.jsonl", "run.pt"] {
        std::fs::copy(fixtures::digits(name), folder.path().join(name)).unwrap();
    }
    let settings = std::fs::read_to_string(fixtures::digits("rekindle.toml")).unwrap();
    let settings = settings + "run = 'runs/a'\nevery = 2\nkeep = 1\nbest = 'loss'\n";
    std::fs::write(folder.path().join("rekindle.toml"), settings.replace("steps = 299", "steps = 5")).unwrap();
    succeeded(&resume(Path::new("run.pt"), &["--save", "out.pt"], folder.path()));
    assert!(folder.path().join("runs/a/last.pt").exists() && folder.path().join("runs/a/best.pt").exists());
}

/// Runs of all kinds, stopped after some steps: each goes on from its folder, in another process, to the very file.
#[test]
fn every_kind_of_run_goes_on_from_its_folder_to_the_very_file() {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("whole")).unwrap();
    let cases = fixtures::named_cases("command_runs/cases.json");
    let (mut wrong, mut gone_on) = (Vec::new(), 0);
    for (name, case) in cases {
        let checkpoint = fixtures::path("command_runs").join(format!("{name}.pt"));
        let file = |argument: &serde_json::Value| {
            let argument = argument.as_str().unwrap();
            let is_file = Path::new(argument).extension().is_some_and(|extension| extension == "pt");
            if is_file {
                fixtures::path("command_runs").join(argument).display().to_string()
            } else {
                argument.to_owned()
            }
        };
        let given: Vec<String> = case["arguments"].as_array().unwrap().iter().map(file).collect();
        let run = |steps: &str, more: &[&str]| {
            let common = ["--model", "mlp", "--config", "sizes=6,8,4"];
            let mut given = given.clone();
            let place = given.iter().position(|argument| argument == "--steps").unwrap() + 1;
            steps.clone_into(&mut given[place]);
            let all: Vec<&str> = given.iter().map(String::as_str).chain(common).chain(more.iter().copied()).collect();
            resume(&checkpoint, &all, folder.path())
        };
        let (kept, out, whole) = (format!("{name}.kept"), format!("{name}.pt"), format!("whole/{name}.pt"));
        let uncut = run("9", &["--save", &whole]);
        if !uncut.status.success() {
            wrong.push(format!("{name}: {}", text(&uncut.stderr)));
            continue;
        }
        for steps in ["1", "4", "9"] {
            let _ = std::fs::remove_file(folder.path().join(&out));
            let output = run(steps, &["--run", &kept, "--every", "2", "--save", &out]);
            if !output.status.success() {
                wrong.push(format!("{name} to step {steps}: {}", text(&output.stderr)));
            }
        }
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap_or_default();
        if read(&out) != read(&whole) {
            wrong.push(format!("{name}: another file"));
        }
        gone_on += 1;
    }
    assert!(wrong.is_empty() && gone_on > 40, "{gone_on} of which {} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
